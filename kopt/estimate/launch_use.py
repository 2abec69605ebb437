"""Say which bytes one launch reads and writes behind each of its pointer parameters.

All programs are followed with three threads, some programs with all: what a whole program touches in a visit, its tile,
is found at the address of every program whose three threads are as far apart.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from kopt.estimate.accesses import PROGRAMS, Access, Accesses, Threads, choose_threads, parameter_of
from kopt.estimate.arithmetic import Lanes
from kopt.estimate.execute import STEP_LIMIT, Executor
from kopt.estimate.instructions import PtxProgram
from kopt.estimate.parameters import descriptors, scalar_values
from kopt.estimate.pieces import Found, Pieces, distinct, growth, joined, merged, spread
from kopt.estimate.registers import POINTER_SHIFT
from kopt.model.build import Launch

READS = ("load_global", "load_global_wide", "cp_async", "tma_load", "atomic")
WRITES = ("store_global", "store_global_wide", "tma_store", "atomic")
"""Kinds of accesses that read and that write global memory."""
MORE_WHOLES = 8
"""Programs that are followed with all threads, beside the usual ones, for tiles that those do not have."""
UNLIKE = 0.02
"""Share of the programs' visits that may have another tile than all programs that are followed with all threads."""
FEW_PROGRAMS, MANY_STEPS = 256, 400_000
"""Programs to follow, and instructions to execute, where there are too many instructions for all programs."""


@dataclass
class LaunchUse:
    """What one launch reads and writes behind each of its pointer parameters."""

    read: dict[int, list[Found]] = field(default_factory=lambda: defaultdict(list))
    written: dict[int, list[Found]] = field(default_factory=lambda: defaultdict(list))
    bounds: dict[int, tuple[int, int]] = field(default_factory=dict)
    """First and last byte that are accessed for sure behind a parameter."""
    unknown: dict[int, float] = field(default_factory=dict)
    """Bytes, at most, that are accessed at unknown places, by parameter; the parameter is -1 where it may be any."""
    sampled: float = 1.0
    """Share of the launch's blocks that were followed."""
    wrapped: bool = False
    certain: bool = True
    """Whether every visit happens."""


@dataclass
class _Pattern:
    """Visits that differ by a distance that is the same for all programs: one tile at every program's anchor."""

    anchors: Lanes
    steps: Lanes | None
    counts: Lanes | None
    tiles: list[Pieces]

    def pieces(self, sampled: float) -> Found:
        """Return the pieces of all programs."""
        tile = merged(joined(self.tiles))
        pieces = spread(self.anchors, self.steps, self.counts, tile)
        if sampled == 1.0:
            return Found(pieces)
        once = distinct(self.anchors)
        return Found(pieces, growth(len(once), len(self.anchors), sampled))


_Patterns = dict[tuple[int, str, bytes], _Pattern]
"""Patterns by parameter, kind of the access, and a digest of the programs that make it, of the distances between their
anchors, and of the progression."""


def launch_use(program: PtxProgram, launch: Launch, contents: dict[int, int]) -> LaunchUse:
    """Return what a launch reads and writes behind its parameters.

    Args:
        program: the kernel's code.
        launch: the launch.
        contents: the one value that fills the memory behind a parameter, where it is known.
    """
    scalars, described = scalar_values(program, launch), descriptors(program, launch)
    followed: dict[str, int] = {}

    def follow(*wholes: int) -> tuple[Threads, Accesses]:
        block, cluster = launch.num_warps * 32, max(launch.num_ctas, 1)
        threads = choose_threads(launch.grid, block, cluster, most=followed.get("most", PROGRAMS), wholes=wholes)
        steps = followed.get("steps", STEP_LIMIT)
        return threads, Executor(program, threads, scalars, contents, described, steps).run()

    threads, accesses = follow()
    if not accesses.complete:
        followed |= {"most": FEW_PROGRAMS, "steps": MANY_STEPS}
        threads, accesses = follow()
    if wholes := _more_wholes(accesses, threads):
        threads, accesses = follow(*wholes)
    blocks = math.prod(launch.grid) * max(launch.num_ctas, 1)
    use = LaunchUse(sampled=threads.programs / blocks)
    use.unknown = {index: amount / use.sampled for index, amount in accesses.unknown.items()}
    use.wrapped, use.certain = accesses.wrapped, accesses.complete and not accesses.undecided
    if not accesses.complete:
        use.unknown[-1] = math.inf
    tiles: dict[int, Pieces] = {}
    patterns: _Patterns = {}
    for visit in accesses.visits:
        _add_visit(patterns, visit, threads, tiles)
        _add_bounds(use, visit)
    for (index, kind, _), pattern in patterns.items():
        pieces = pattern.pieces(use.sampled)
        if kind in READS:
            use.read[index].append(pieces)
        if kind in WRITES:
            use.written[index].append(pieces)
    return use


def _like(visit: Access, threads: Threads, wholes: Sequence[int]) -> npt.NDArray[np.int64]:
    """Return for each program the first of some programs whose three threads are as far apart; -1 where none is.

    Programs that do not make the access get -1, too.

    Args:
        visit: the visit.
        threads: the threads that were followed.
        wholes: positions of the programs to compare with.
    """
    active = threads.three(visit.active)
    apart = threads.three(visit.address)
    shape = np.concatenate([np.where(active, apart - apart[0], 0)[1:], active])
    missing = active.any(axis=0)
    like = np.full(threads.programs, -1, dtype=np.int64)
    for at, position in enumerate(wholes):
        same = missing & (shape == shape[:, position, None]).all(axis=0)
        like[same] = at
        missing &= ~same
        if not missing.any():
            break
    return like


def _more_wholes(accesses: Accesses, threads: Threads) -> list[int]:
    """Return the positions of further programs to follow with all threads: those whose tiles the usual ones lack."""
    chosen: list[int] = []
    active = [threads.representatives(visit.active) for visit in accesses.visits]
    total = sum(int(np.count_nonzero(a)) for a in active)
    while len(chosen) < MORE_WHOLES:
        lacking = np.zeros(threads.programs, dtype=np.int64)
        for visit, makes in zip(accesses.visits, active, strict=True):
            lacking += makes & (_like(visit, threads, (*threads.wholes, *chosen)) < 0)
        if lacking.sum() <= UNLIKE * total:
            break
        chosen.append(int(lacking.argmax()))
    return chosen


def _add_visit(patterns: _Patterns, visit: Access, threads: Threads, tiles: dict[int, Pieces]) -> None:
    """Add a visit to the patterns: to those from which it differs by a distance alone, else as new ones.

    Args:
        patterns: those of the visits so far.
        visit: the visit.
        threads: the threads that were followed.
        tiles: what a program touches, by instruction, for visits that no whole program makes.
    """
    count = threads.programs
    active = threads.representatives(visit.active)
    if not active.any():
        return
    anchors = visit.address[:count]
    parameters = parameter_of(anchors)
    whole = next((tile for which in range(len(threads.wholes)) if (tile := _tile(visit, threads, which))), None)
    usual = whole or tiles.get(visit.at) or _least_tile(visit)
    tiles.setdefault(visit.at, usual)
    like = _like(visit, threads, threads.wholes)
    for index in distinct(parameters[active]).tolist():
        of = active & (parameters == index)
        for which in distinct(like[of]).tolist():
            tile = (_tile(visit, threads, which) if which >= 0 else None) or usual
            chosen = of & (like == which)
            own = anchors[chosen] - ((index + 1) << POINTER_SHIFT)
            steps = visit.step[:count][chosen] if visit.step is not None else None
            counts = visit.count[:count][chosen] if visit.count is not None else None
            key = (index, visit.kind, _digest(chosen, own - own[0], steps, counts))
            pattern = patterns.setdefault(key, _Pattern(own, steps, counts, []))
            pattern.tiles.append(tile.moved(int(own[0] - pattern.anchors[0])))


def _digest(*arrays: npt.NDArray[Any] | None) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
    return digest.digest()


def _add_bounds(use: LaunchUse, visit: Access) -> None:
    """Widen the bounds by the threads that make the access for sure."""
    sure = visit.certain
    if visit.kind.startswith("tma") or not sure.any():
        return
    first = visit.address[sure]
    last = first
    if visit.step is not None and visit.count is not None:
        last = first + visit.step[sure] * (visit.count[sure] - 1)
    for ends in (first, last):
        index = parameter_of(ends)
        for parameter in distinct(index).tolist():
            own = ends[index == parameter] - ((parameter + 1) << POINTER_SHIFT)
            low, high = int(own.min()), int(own.max()) + visit.size
            old = use.bounds.get(parameter, (low, high))
            use.bounds[parameter] = (min(low, old[0]), max(high, old[1]))


def _tile(visit: Access, threads: Threads, which: int) -> Pieces | None:
    """Return the pieces that a whole program touches in a visit, from its first thread's address; None for none."""
    part = threads.whole(which)
    active = visit.active[part]
    if not active.any():
        return None
    offsets = distinct(visit.address[part][active] - visit.address[part][0])
    if visit.rows is not None:  # each warp may copy a box of its own
        offsets = (offsets[:, None] + visit.rows).ravel()
    return merged(Pieces(offsets, offsets + visit.size))


def _least_tile(visit: Access) -> Pieces:
    """Return what one thread touches in a visit."""
    rows = visit.rows if visit.rows is not None else np.zeros(1, dtype=np.int64)
    return merged(Pieces(rows, rows + visit.size))
