"""Define the environment for which a measured time is valid, and the state of the device while it was measured."""

from __future__ import annotations

from kopt.model.base import Value


class Environment(Value):
    """What a measured time is valid for; in another environment it must be measured again."""

    gpu: str
    """Name of the GPU."""
    uuid: str
    """Identifier of the very GPU, e.g. `GPU-cb84...`."""
    driver: str
    """Version of the driver."""
    torch: str
    triton: str
    evaluator: str
    """Digest of the measuring code."""


class Conditions(Value):
    """The state of the device while a batch was timed."""

    sm_clock_mhz: tuple[int, int]
    """Least and largest clock of the multiprocessors read, MHz."""
    temperature_c: int
    """Largest temperature read, degrees Celsius."""
    power_w: float
    """Largest power read, watts."""
    throttle: tuple[str, ...] = ()
    """Reasons for which the driver slowed the device down, sorted; `power cap` alone does not spoil a batch."""

    @property
    def spoiled(self) -> bool:
        """Whether the batch must be dropped because heat or a hardware brake slowed the device."""
        return bool(set(self.throttle) - {"power cap"})
