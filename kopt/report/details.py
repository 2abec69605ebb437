"""Define what the page shows of one kernel when it is opened, and of the jobs of a run."""

from __future__ import annotations

from kopt.model.base import Value
from kopt.model.diagnosis import Diagnosis, Direction, Profile
from kopt.model.verdict import Check


class LaunchFacts(Value):
    """One launch on one workload."""

    workload: str
    kernel: str
    grid: str
    """Blocks in x, y and z: `1024x1x1`."""
    warps: int
    stages: int
    registers: int
    """Per thread."""
    shared_bytes: int
    """Per block."""
    spill_bytes: int
    """Per thread."""
    occupancy: float | None
    """Resident threads over the device's limit, 0 to 1; None where the device is not known."""
    constants: str
    """Compile-time values: `BLOCK=256, EVEN=True`."""


class ChangedFact(Value):
    """A figure of the build that differs from the parent's: of a launch, or a count of PTX instructions."""

    where: str
    """Launched kernel and workload, or `PTX`."""
    name: str
    before: str
    after: str


class KernelTime(Value):
    """The time on one main workload, ms."""

    workload: str
    ms: float
    low_ms: float | None = None
    """Lower end of the 95 % interval; None for an estimate."""
    high_ms: float | None = None
    floor_ms: float
    """Roofline floor: no kernel is faster on this device."""
    notes: str = ""
    """What bounds the kernel and slows it down, by the estimate."""


class Exchange(Value):
    """The prompt and the reply that a candidate came from; foreign text."""

    model: str
    prompt: str
    reply: str
    note: str
    """What cannot be shown, and why; empty otherwise."""


class KernelDetail(Value):
    """What the page shows of one kernel."""

    name: str
    """Name of the candidate."""
    source: str
    """Empty for a candidate whose reply held no kernel."""
    parent: str = ""
    """Name of the first candidate with the parent's source."""
    parent_source: str = ""
    """Empty for the seed kernel."""
    note: str = ""
    """What is not at hand, and why; empty otherwise."""
    launches: tuple[LaunchFacts, ...] = ()
    changes: tuple[str, ...] = ()
    """What it changed against its parent by build and source, in short: `warps 16 → 4`."""
    contradicted: tuple[str, ...] = ()
    """Numbers of the build beside the other numbers that the proposer's words give: `4 warps, not 8`."""
    changed: tuple[ChangedFact, ...] = ()
    checks: tuple[Check, ...] = ()
    times: tuple[KernelTime, ...] = ()
    selection: str = ""
    """In which rounds a selection kept it, or why none did."""
    followed: Direction | None = None
    """The direction of its parent's diagnosis that it followed."""
    profile: Profile | None = None
    """None for a kernel that was no parent."""
    diagnosis: Diagnosis | None = None
    exchange: Exchange | None = None
    """None for a candidate of no language model."""


class JobSpan(Value):
    """When one job of a run worked."""

    rule: str
    round: int | None
    attempt: int | None
    began: float
    """Seconds since 1970."""
    ended: float
    gpu: bool
    """Whether the job held a GPU."""


class Roof(Value):
    """What one main workload demands, and the rates of the device that bound it."""

    workload: str
    bytes: int
    """Fewest bytes that a right kernel moves."""
    flops: int
    """Floating-point operations of the reference."""
    gb_s: float
    """Measured copy rate of the device, 1e9 bytes per second."""
    tflop_s: float
    """Rate of arithmetic that bounds it, 1e12 operations per second: of matrix products where it has some."""
    eager_ms: float | None = None
    """Time of PyTorch eager on it, ms; None where it is not known."""
