"""Under which circumstances a time was measured: what it is valid for, and the state the device was in."""

from __future__ import annotations

from kopt.model.base import Value


class Environment(Value):
    """What a measured time holds for; another one needs another measurement."""

    gpu: str
    """Name of the device."""
    uuid: str
    """The very device, e.g. `GPU-cb84...`."""
    driver: str
    torch: str
    triton: str
    evaluator: str
    """Digest of the measuring code."""


class Conditions(Value):
    """The state of the device while a batch was timed."""

    sm_clock_mhz: tuple[int, int]
    """Least and largest clock of the multiprocessors that was read."""
    temperature_c: int
    """Largest temperature read, degrees Celsius."""
    power_w: float
    """Largest power read, watts."""
    throttle: tuple[str, ...] = ()
    """Reasons for which the device was slowed down, sorted; `power cap` alone does not spoil a batch."""

    @property
    def spoiled(self) -> bool:
        """Whether the batch must be dropped: heat or a hardware brake slowed the device."""
        return bool(set(self.throttle) - {"power cap"})
