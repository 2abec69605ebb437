"""Define what is known of one kernel: source, build, techniques, verdict, times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field

from kopt.artifact import text_digest
from kopt.errors import StoreError
from kopt.estimate.instructions import instruction_mix
from kopt.model.base import Value
from kopt.model.build import Build, Built
from kopt.model.device import Device
from kopt.model.problem import ProblemFacts
from kopt.model.technique import Evidence, Technique
from kopt.model.timing import Estimated, Measured
from kopt.model.trial import Trial
from kopt.model.verdict import Check
from kopt.report.numbers import Time
from kopt.roofline import occupancy
from kopt.store import Store
from kopt.techniques.static import classify
from kopt.winner.source import has_atomics, is_autotuned, kernels, without_dead_kernels


class SourceFacts(Value):
    """Facts of a kernel's source text."""

    digest: str
    lines: int
    kernels: tuple[str, ...]
    """Names of its Triton kernels, those left out that its build or its text shows not to run."""
    autotuned: bool
    atomics: bool
    """Whether it adds by atomics, so that sums end in any order."""


class LaunchView(Value):
    """One launch on one workload."""

    workload: str
    kernel: str
    grid: tuple[int, int, int]
    warps: int
    stages: int
    ctas: int
    """Blocks of a cluster."""
    registers: int
    """Per thread."""
    shared_bytes: int
    """Per block."""
    spill_bytes: int
    """Per thread."""
    occupancy: float | None
    """Resident threads over the device's limit, 0 to 1; None where the device is not known."""
    trial: bool
    """Whether an autotuner tries this configuration among others."""
    constants: dict[str, str]
    """Compile-time values by name."""


class WorkloadTime(Value):
    """The time on one main workload, ms."""

    workload: str
    ms: float
    low_ms: float | None = None
    """Lower end of the 95 % interval; None for an estimate."""
    high_ms: float | None = None
    floor_ms: float
    """Roofline floor: no kernel is faster on this device."""
    bound: str = ""
    """`memory`, `compute` or `latency`, by the estimate; empty for a measured time."""
    notes: tuple[str, ...] = ()
    """Causes that slow the kernel down, by the estimate."""

    @property
    def roofline_share(self) -> float:
        """Floor divided by time, 0 to 1."""
        return self.floor_ms / self.ms


class KernelView(Value):
    """What is known of one kernel."""

    label: str
    """The word that named it: `best`, `r2a0s3`, a file's name."""
    name: str
    """Name of its first candidate in the run; empty for a file."""
    source: str
    facts: SourceFacts | None
    """None where the source is no Python."""
    trial: Trial | None = None
    """Its row in the run's table; None for a file."""
    parent: str = ""
    """Name of its parent's first candidate."""
    contradicted: tuple[str, ...] = ()
    """Numbers of the build beside the other numbers that the proposer's words give: `4 warps, not 8`."""
    siblings: tuple[str, ...] = ()
    """Names of other candidates with the same source."""
    build_failure: str = ""
    """Why it was not built; empty where it was, or where no build is at hand."""
    note: str = ""
    """What is not at hand, and why; empty otherwise."""
    fingerprint: str = ""
    launches: tuple[LaunchView, ...] = ()
    instructions: dict[str, dict[str, int]] = Field(default_factory=dict)
    """Counts of PTX instructions by kind, by the name of the launched kernel; autotuned ones by configuration."""
    evidence: tuple[Evidence, ...] = ()
    """Where the static classifier saw each technique."""
    techniques: tuple[str, ...] = ()
    verdict: str
    """`passed`, `incorrect`, `failed`, `duplicate`, `none` or `not judged`."""
    phase: str = ""
    reason: str = ""
    checks: tuple[Check, ...] = ()
    """Comparisons of the verdict, where it is in the store."""
    titles: dict[str, str] = Field(default_factory=dict)
    """Names of workloads with their kinds, by the names that checks have: `small ragged`."""
    ms: float | None = None
    """Objective: geometric mean over the main workloads, ms; None where it has none."""
    interval: tuple[float, float] | None = None
    estimated: bool = True
    roofline_share: float | None = None
    times: tuple[WorkloadTime, ...] = ()

    @property
    def time(self) -> Time | None:
        """Its objective with the interval; None where it has none."""
        low, high = self.interval or (None, None)
        return None if self.ms is None else Time(self.ms, low, high, self.estimated)


def source_facts(source: str, build: Build | None = None) -> SourceFacts | None:
    """Return the facts of a source text; None where it is no Python.

    Args:
        source: the text.
        build: its build, whose launches say which of its kernels run; None where it is not at hand.
    """
    launched = {one.kernel for one in launch_views(build, None)}
    try:
        living = without_dead_kernels(source, launched)
    except (SyntaxError, ValueError, RecursionError):
        return None
    return SourceFacts(
        digest=text_digest(source), lines=len(source.splitlines()), kernels=kernels(living),
        autotuned=is_autotuned(living), atomics=has_atomics(living),
    )  # fmt: skip


def launch_views(build: Build | None, device: Device | None) -> tuple[LaunchView, ...]:
    """List a build's launches, workload by workload."""
    if not isinstance(build, Built):
        return ()
    return tuple(
        LaunchView(
            workload=workload.workload, kernel=launch.kernel, grid=launch.grid, warps=launch.num_warps,
            stages=launch.num_stages, ctas=launch.num_ctas, registers=launch.registers,
            shared_bytes=launch.shared_bytes, spill_bytes=launch.spills,
            occupancy=occupancy(launch, device).share if device else None, trial=launch.trial,
            constants=dict(launch.constants),
        )
        for workload in build.workloads
        for launch in workload.launches
    )  # fmt: skip


def instruction_counts(build: Build | None, store: Store) -> dict[str, dict[str, int]]:
    """Count the PTX instructions of each launched kernel; a kernel with several binaries has a number for each.

    Raises:
        StoreError: a PTX text is not in the store, or no longer.
    """
    ptx_of: dict[str, list[str]] = {}
    for workload in build.workloads if isinstance(build, Built) else ():
        for launch in workload.launches:
            known = ptx_of.setdefault(launch.kernel, [])
            if launch.ptx and launch.ptx not in known:
                known.append(launch.ptx)
    return {
        f"{kernel} {place}" if digests[1:] else kernel: _counted(store.text("ptx", digest, ".ptx"))
        for kernel, digests in ptx_of.items()
        for place, digest in enumerate(digests, 1)
    }


def _counted(ptx: str) -> dict[str, int]:
    return {kind: count for kind, count in instruction_mix(ptx).items() if count}


def evidence_of(
    source: str, build: Build | None, taxonomy: Sequence[Technique], device: Device, store: Store
) -> tuple[Evidence, ...]:
    """Find the techniques that a kernel uses, by facts of source and PTX."""
    launches = (
        [launch for workload in build.workloads for launch in workload.launches] if isinstance(build, Built) else []
    )
    try:
        ptx = [
            store.text("ptx", digest, ".ptx") for digest in dict.fromkeys(launch.ptx for launch in launches) if digest
        ]
    except StoreError:
        ptx = []
    return classify(source, ptx, launches, taxonomy, device=device).evidence


def estimated_times(timing: Estimated | None) -> tuple[WorkloadTime, ...]:
    """List the estimated times of the workloads."""
    return tuple(
        WorkloadTime(workload=one.workload, ms=one.ms, floor_ms=one.floor_ms, bound=one.bound, notes=one.notes)
        for one in (timing.workloads if timing else ())
    )


def measured_times(timing: Measured | None) -> tuple[WorkloadTime, ...]:
    """List the measured times of the workloads."""
    return tuple(
        WorkloadTime(
            workload=one.workload, ms=one.median_ms, low_ms=one.low_ms, high_ms=one.high_ms, floor_ms=one.floor_ms
        )
        for one in (timing.workloads if timing else ())
    )


def estimate_of(
    build: Build | None, facts: ProblemFacts | None, device: Device | None, store: Store
) -> Estimated | None:
    """Estimate a built kernel's time; None where something for it is missing."""
    from kopt.estimate.kernel_time import estimate

    if not isinstance(build, Built) or not build.workloads or facts is None or device is None or not facts.workloads:
        return None
    texts: Mapping[str, str] = {
        launch.ptx: store.text("ptx", launch.ptx, ".ptx") for one in build.workloads for launch in one.launches
    }
    return estimate(build, facts, device, texts.__getitem__)
