"""Compare what a kernel reads, writes and multiplies at full size with what every right kernel must; refuse one that
does less, where the judge without a GPU does not run it.

kopt's interpreter judges small workloads.  A kernel may be right on those, do little on the workload that is timed, and
look as fast as the device allows.  Where it is not known what a kernel does (data decides it, or its code cannot be
followed), it counts as done.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from math import isfinite
from typing import NamedTuple

from kopt.estimate.full_size.memory_use import MemoryUse, memory_use
from kopt.estimate.instructions import PtxProgram
from kopt.model.build import Launch, Phase, WorkloadBuild
from kopt.model.problem import WorkloadFacts, workload_title
from kopt.model.timing import Estimated
from kopt.model.verdict import Failed

LEAST = 0.9
"""Least share of the work that every right kernel must do."""
WRITTEN = 0.998
"""Least share of an output to be written, where all programs were followed and it is known what each does."""
MORE_PROGRAMS = 1 << 17
"""Programs of a launch that are followed, at most, where a sample of them seems to leave a part of an output out."""
SMALL = 0.01
"""Share of all bytes below which a tensor is too small to be looked at alone."""
FEWER_PRODUCTS = 0.75
"""Share of the operations of a matrix product that counts as all of them: Strassen's method, twice, needs 77 %."""
SAMPLED = 0.93
"""Share that counts as all where not every program was followed."""

_MEMORY = re.compile(r"(?:input \d+(?:\[[^\]]*\])*|model [\w.]+|allocation \d+)")


class _Share(NamedTuple):
    """A share of one part of the necessary work."""

    done: float
    what: str
    """The part, in words."""
    least: float = LEAST
    """The least share of a right kernel."""


class WorkShares(NamedTuple):
    """Shares of the necessary work."""

    done: float
    """The smallest share, at most 1."""
    lacking: str = ""
    """The work of which least is done, in words; empty where all is done."""
    followed: float = 1.0
    """Share of the necessary bytes whose accesses are known."""
    outside: str = ""
    """An access outside of its tensor, in words."""
    least: float = LEAST
    """The least share of a right kernel."""


def work_shares(
    build: WorkloadBuild, launches: Sequence[Launch], facts: WorkloadFacts, flops: float,
    program_of: Callable[[str], PtxProgram],
) -> WorkShares:  # fmt: skip
    """Return the shares of the necessary work that a kernel does on a workload.

    Args:
        build: the kernel's build.
        launches: of its launches those that run.
        facts: the workload's facts.
        flops: operations of the launches on tensor cores; 0 where they use none.
        program_of: returns the code for a digest of PTX.
    """
    use = memory_use(build, launches, facts, program_of)
    written = list(_written(use, build, facts))
    if use.sampled < 1.0 and any(share.done * SAMPLED < WRITTEN for share in written):
        more = memory_use(build, launches, facts, program_of, MORE_PROGRAMS)
        written = list(_written(more, build, facts)) if more.sampled == 1.0 else written
    shares = [*_read(use, facts), *written, *_computed(flops, facts), *_declared(use, build, facts)]
    done, lacking, least = min(shares, key=lambda share: share.done / share.least, default=_Share(1.0, ""))
    if done < 1.0 and use.wrapped:
        lacking += "; 32-bit arithmetic on addresses overflows at this size: use .to(tl.int64)"
    outside = use.outside and f"{use.outside}; use a mask, and .to(tl.int64) where offsets reach 2^31"
    return WorkShares(min(done, 1.0), lacking if done < 1.0 else "", _followed(use, build, facts), outside, least)


def _followed(use: MemoryUse, build: WorkloadBuild, facts: WorkloadFacts) -> float:
    """Return the share of the necessary bytes that are not merely counted as moved because their places are unknown."""
    given = [(use.read, spec.place, spec.needed_bytes) for spec in (*facts.inputs, *facts.parameters)]
    outputs = zip_longest(_output_places(build, facts), facts.outputs)
    made = [(use.written, spec.place or place, spec.needed_bytes) for place, spec in outputs]
    moved = supposed = 0.0
    for amounts, place, needed in (*given, *made):
        if place and needed:
            amount, unknown = amounts.get(place, 0.0), use.unknown.get(place, 0.0)
            known = amount - unknown if isfinite(unknown) else 0.0
            moved += min(amount, needed)
            supposed += min(amount, needed) - min(known, needed)
    return 1.0 - supposed / moved if moved else 1.0


def _declared(use: MemoryUse, build: WorkloadBuild, facts: WorkloadFacts) -> Iterator[_Share]:
    """Yield the share of a declared floor's bytes that is moved."""
    if facts.floor is None or not facts.floor.bytes:
        return
    given = (spec.place for spec in (*facts.inputs, *facts.parameters) if spec.place)
    moved = _total(use.read, given) + _total(use.written, _output_places(build, facts))
    yield _Share(
        moved / facts.floor.bytes / _enough(use), f"of the {facts.floor.bytes} bytes of the declared floor moved"
    )


def _read(use: MemoryUse, facts: WorkloadFacts) -> Iterator[_Share]:
    """Yield the share of each input that is read."""
    given = [spec for spec in (*facts.inputs, *facts.parameters) if spec.place]
    for place in dict.fromkeys(spec.place for spec in given) if facts.floor is None else ():
        specs = [spec for spec in given if spec.place == place]
        if (needed := sum(spec.needed_bytes for spec in specs)) > SMALL * facts.bytes:
            share = use.read.get(place, 0.0) / needed / _enough(use)
            what = f"of what must be read of {' and '.join(s.name for s in specs)} ({_megabytes(needed)})"
            yield _Share(share, what)


def _written(use: MemoryUse, build: WorkloadBuild, facts: WorkloadFacts) -> Iterator[_Share]:
    """Yield the share of each output that is written."""
    if facts.floor is not None:
        return
    for place, spec in zip_longest(_output_places(build, facts), facts.outputs):
        new = not spec.place and bool(place) and place.startswith("allocation")
        known = use.certain and use.sampled == 1.0 and not use.unknown.get(place or "", 0.0)
        place = spec.place or place
        if place and spec.needed_bytes > SMALL * facts.bytes:
            share = use.written.get(place, 0.0) / spec.needed_bytes / _enough(use)
            what = f"of {spec.name} written ({_megabytes(spec.needed_bytes)})"
            doubt = use.doubtful.get(place, 0.0) / spec.needed_bytes
            yield _Share(share, what, max(WRITTEN - doubt, LEAST) if new and known else LEAST)


def _enough(use: MemoryUse) -> float:
    return 1.0 if use.sampled == 1.0 else SAMPLED


def _computed(flops: float, facts: WorkloadFacts) -> Iterator[_Share]:
    if flops and facts.floor_flops:
        needed = facts.floor_flops if facts.floor is not None else FEWER_PRODUCTS * facts.floor_flops
        yield _Share(flops / needed, f"of the {needed / 1e9:.4g} GFLOP of matrix products that are needed at least")


def _output_places(build: WorkloadBuild, facts: WorkloadFacts) -> list[str]:
    """Return the memory of each returned tensor, in order; none where the build does not tell."""
    places = _MEMORY.findall(build.output)
    returned = [spec for spec in facts.outputs if spec.name.startswith("output")]
    return places if len(places) == len(returned) else []


def _total(amounts: dict[str, float], places: Iterable[str]) -> float:
    return sum(amounts.get(place, 0.0) for place in set(places))


def _megabytes(amount: int) -> str:
    return f"{amount / 1e6:.4g} MB"


def undone_work(timing: Estimated, seed: Estimated | None, judge: str) -> Failed | None:
    """Return the failure of a kernel that leaves work out, or leaves its tensors, on a main workload; None for others.

    Args:
        timing: the kernel's estimate.
        seed: the seed kernel's estimate.  The seed is trusted: where it does less, other kernels may do as little.
        judge: name of the judge that the verdict names.
    """
    trusted = {workload.workload: workload for workload in seed.workloads} if seed else {}
    for workload in timing.workloads:
        where = f"{workload_title(workload.workload, 'timed')}, as traced at full size"
        known = trusted.get(workload.workload)
        if workload.outside and not (known and known.outside):
            return Failed(judge=judge, phase=Phase.LAUNCH, reason=f"{where}: {workload.outside}")
        if workload.done < workload.least * (known.done if known else 1.0):
            reason = (
                f"{where}: {100 * workload.done:.3g}% {workload.lacking or 'of the work'}: part of the problem is left "
                "out there; where a right kernel needs less, say so by `floor:` in problem.yaml"
            )
            return Failed(judge=judge, phase=Phase.ROOFLINE, reason=reason)
    return None
