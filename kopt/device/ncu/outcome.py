"""Make an outcome of a run of Nsight Compute: the counters of every launch, or why there are none."""

from __future__ import annotations

from typing import Literal

from kopt.device.ncu.csv import TIME, LaunchCounters, NotCounters, parse, together
from kopt.device.reference.rejection import bounded
from kopt.model.base import Value

Cause = Literal["no ncu", "no permission", "timeout", "no launch", "failed"]


class Counted(Value):
    """The counters of every launch of one call."""

    launches: tuple[LaunchCounters, ...]
    csv: str
    """Nsight Compute's own table."""

    @property
    def metrics(self) -> dict[str, float | None]:
        """The counters of all launches together."""
        return together(self.launches)


class NotCounted(Value):
    """Why there are no counters."""

    cause: Cause
    detail: str = ""

    @property
    def note(self) -> str:
        """Text for the profile's notes."""
        return _NOTES[self.cause] + (f": {self.detail.splitlines()[-1][:200]}" if self.detail else "")

    @property
    def lasting(self) -> bool:
        """Whether the cause is the same for every kernel on this machine."""
        return self.cause in ("no ncu", "no permission")


_NOTES: dict[Cause, str] = {
    "no ncu": "Nsight Compute (ncu) is not installed",
    "no permission": "this user may not read hardware counters (ERR_NVGPUCTRPERM)",
    "timeout": "Nsight Compute did not end in time",
    "no launch": "Nsight Compute saw no launch",
    "failed": "Nsight Compute or the kernel under it failed",
}


def outcome(status: int | None, log: str, output: str) -> Counted | NotCounted:
    """Make an outcome of a run of Nsight Compute.

    Args:
        status: exit status; None when the run was killed at its limit.
        log: text of the log file: table and messages.
        output: the end of the output of `ncu` and the program.
    """
    if status is None:
        return NotCounted(cause="timeout", detail=bounded(output))
    if "ERR_NVGPUCTRPERM" in log:
        return NotCounted(cause="no permission")
    try:
        launches = parse(log)
    except NotCounters:
        if status == 0:
            return NotCounted(cause="no launch", detail=bounded(log))
        return NotCounted(cause="failed", detail=bounded(f"{_messages(log)}\n{output}"))
    measured = [launch for launch in launches if launch.metrics[TIME]]
    if not measured:
        return NotCounted(cause="failed", detail=bounded(f"{_messages(log)}\n{output}"))
    return Counted(launches=tuple(measured), csv=log)


def _messages(log: str) -> str:
    return "\n".join(line for line in log.splitlines() if line.startswith("=="))
