"""Say which bytes one launch reads and writes behind each of its pointer parameters.

All programs are followed with few threads, two programs with all: what a whole program touches in a visit, its tile, is
found at every program's address.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import numpy as np

from kopt.estimate.accesses import Access, Accesses, Threads, choose_threads, parameter_of
from kopt.estimate.arithmetic import Lanes
from kopt.estimate.execute import Executor
from kopt.estimate.instructions import PtxProgram
from kopt.estimate.parameters import descriptors, scalar_values
from kopt.estimate.pieces import Found, Pieces, distinct, growth, joined, merged, one_piece, spread
from kopt.estimate.registers import POINTER_SHIFT
from kopt.model.build import Launch

READS = ("load_global", "load_global_wide", "cp_async", "tma_load", "atomic")
WRITES = ("store_global", "store_global_wide", "tma_store", "atomic")
"""Kinds of accesses that read and that write global memory."""
MORE_PROGRAMS = 8
"""Programs that are followed with all threads, beside the usual two, for accesses that those do not make."""


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


_PatternKey = tuple[int, str, bytes, bytes]
"""Parameter, kind of the access, programs that make it, and the progression."""


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


def launch_use(program: PtxProgram, launch: Launch, contents: dict[int, int]) -> LaunchUse:
    """Return what a launch reads and writes behind its parameters.

    Args:
        program: the kernel's code.
        launch: the launch.
        contents: the one value that fills the memory behind a parameter, where it is known.
    """
    threads = _threads(launch)
    scalars, described = scalar_values(program, launch), descriptors(program, launch)

    def follow(threads: Threads) -> Accesses:
        return Executor(program, threads, scalars, contents, described).run()

    accesses = follow(threads)
    blocks = math.prod(launch.grid) * max(launch.num_ctas, 1)
    use = LaunchUse(sampled=threads.programs / blocks)
    use.unknown = {index: amount / use.sampled for index, amount in accesses.unknown.items()}
    use.wrapped, use.certain = accesses.wrapped, accesses.complete and not accesses.undecided
    if not accesses.complete:
        use.unknown[-1] = math.inf
    tiles = _tiles_elsewhere(accesses, threads, launch, follow)
    patterns: dict[_PatternKey, list[_Pattern]] = defaultdict(list)
    for visit in accesses.visits:
        _add_visit(patterns, visit, threads, tiles)
        _add_bounds(use, visit)
    for (index, kind, _, _), found in patterns.items():
        for pattern in found:
            pieces = pattern.pieces(use.sampled)
            if kind in READS:
                use.read[index].append(pieces)
            if kind in WRITES:
                use.written[index].append(pieces)
    return use


def _threads(launch: Launch, chosen: Collection[int] | None = None) -> Threads:
    return choose_threads(launch.grid, launch.num_warps * 32, max(launch.num_ctas, 1), chosen)


def _tiles_elsewhere(
    accesses: Accesses, threads: Threads, launch: Launch, follow: Callable[[Threads], Accesses]
) -> dict[int, Pieces]:
    """Return the tiles of accesses that neither of the whole programs makes, by instruction, from programs that do.

    Args:
        accesses: those of the launch.
        threads: the threads that were followed.
        launch: the launch.
        follow: follows other threads.
    """
    tiles: dict[int, Pieces] = {}
    known = {visit.at for visit in accesses.visits if _tile(visit, threads) is not None}
    missing = {v.at: threads.representatives(v.active) for v in accesses.visits if v.at not in known}
    missing = {at: active for at, active in missing.items() if active.any()}
    for _ in range(MORE_PROGRAMS):
        if not missing:
            break
        most = np.sum(list(missing.values()), axis=0).argmax()
        other = _threads(launch, chosen=[int(threads.program[most])])
        for visit in follow(other).visits:
            if visit.at in missing and (tile := _tile(visit, other)) is not None:
                tiles.setdefault(visit.at, tile)
        missing = {at: active for at, active in missing.items() if at not in tiles and not active[most]}
    return tiles


def _add_visit(
    patterns: dict[_PatternKey, list[_Pattern]], visit: Access, threads: Threads, tiles: dict[int, Pieces]
) -> None:
    """Add a visit to the patterns: to one from which it differs by a distance alone, else as a new one.

    Args:
        patterns: those of the visits so far.
        visit: the visit.
        threads: the threads that were followed.
        tiles: what a program touches, by instruction, for visits that neither of the whole programs makes.
    """
    count = threads.programs
    active = threads.representatives(visit.active)
    if not active.any():
        return
    anchors = visit.address[:count]
    parameters = parameter_of(anchors)
    tile = _tile(visit, threads) or tiles.get(visit.at) or one_piece(0, visit.size)
    tiles.setdefault(visit.at, tile)
    for index in distinct(parameters[active]).tolist():
        chosen = active & (parameters == index)
        own = anchors[chosen] - ((index + 1) << POINTER_SHIFT)
        steps = visit.step[:count][chosen] if visit.step is not None else None
        counts = visit.count[:count][chosen] if visit.count is not None else None
        how = steps.tobytes() + counts.tobytes() if steps is not None and counts is not None else b""
        same = patterns[index, visit.kind, chosen.tobytes(), how]
        for pattern in same:
            apart = own - pattern.anchors
            if (apart == apart[0]).all():
                pattern.tiles.append(tile.moved(int(apart[0])))
                break
        else:
            same.append(_Pattern(own, steps, counts, [tile]))


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


def _tile(visit: Access, threads: Threads) -> Pieces | None:
    """Return the pieces that one whole program touches in a visit, from its first thread's address."""
    for which in (1, 0):
        part = threads.whole(which)
        active = visit.active[part]
        if active.any():
            offsets = distinct(visit.address[part][active] - visit.address[part][0])
            if visit.rows is not None:  # each warp may copy a box of its own
                offsets = (offsets[:, None] + visit.rows).ravel()
            return merged(Pieces(offsets, offsets + visit.size))
    return merged(Pieces(visit.rows, visit.rows + visit.size)) if visit.rows is not None else None
