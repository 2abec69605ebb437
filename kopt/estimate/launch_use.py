"""Say which bytes one launch reads and writes behind each of its pointer parameters.

All programs are followed with a few threads, some programs with all: what a whole program touches in a visit, its tile,
is found at the address of every program whose few threads are as far apart.
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
MORE_ROUNDS = 3
"""Times, at most, that a launch is followed again with more programs and threads."""
MORE_WHOLES, MORE_LANES = 36, 9216
"""Programs that are followed with all threads, and these threads, at most."""
MOST_THREADS = 6
"""Threads of every program that are followed, at most, where fewer do not tell programs apart."""
SOME_VISITS = 300
"""Visits, at most, that are looked at for what more to follow."""
UNLIKE = 0.01
"""Share of the programs' visits of an instruction whose tile may be that of no whole program."""
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
    block, cluster = launch.num_warps * 32, max(launch.num_ctas, 1)

    def follow(threads: Threads, steps: int) -> Accesses:
        return Executor(program, threads, scalars, contents, described, steps).run()

    most, steps = PROGRAMS, STEP_LIMIT
    threads = choose_threads(launch.grid, block, cluster)
    accesses = follow(threads, steps)
    if not accesses.complete:
        most, steps = FEW_PROGRAMS, MANY_STEPS
        threads = choose_threads(launch.grid, block, cluster, most=most)
        accesses = follow(threads, steps)
    for _ in range(MORE_ROUNDS):
        visits = _some_visits(accesses.visits)
        wholes, chosen = _more_wholes(visits, threads), _more_threads(visits, threads)
        if not wholes and not chosen:
            break
        wholes, chosen = [*threads.wholes, *wholes], [*threads.chosen, *chosen]
        threads = choose_threads(launch.grid, block, cluster, most=most, wholes=wholes, chosen=chosen)
        accesses = follow(threads, steps)
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


def _some_visits(visits: Sequence[Access]) -> list[Access]:
    """Return some visits of each instruction, spread over its visits."""
    by_place: dict[int, list[Access]] = defaultdict(list)
    for visit in visits:
        by_place[visit.at].append(visit)
    most = max(SOME_VISITS // max(len(by_place), 1), 3)
    return [visit for of in by_place.values() for visit in of[:: len(of) // most + 1]]


def _like(visit: Access, threads: Threads, wholes: Sequence[int]) -> npt.NDArray[np.int64]:
    """Return for each program the first of some programs whose few threads are as far apart; -1 where none is.

    Programs that do not make the access get -1, too.

    Args:
        visit: the visit.
        threads: the threads that were followed.
        wholes: positions of the programs to compare with.
    """
    active, address = threads.few(visit.active), threads.few(visit.address)
    shape = np.concatenate([np.where(active, address - address[0], 0)[1:], active])
    missing = active.any(axis=0)
    like = np.full(threads.programs, -1, dtype=np.int64)
    for at, position in enumerate(wholes):
        same = missing & (shape == shape[:, position, None]).all(axis=0)
        like[same] = at
        missing &= ~same
        if not missing.any():
            break
    return like


def _more_wholes(visits: Sequence[Access], threads: Threads) -> list[int]:
    """Return the positions of further programs to follow with all threads: those whose tiles the others lack.

    Of programs that look alike by their few threads two are chosen: they may show that they are not.
    """
    chosen: list[int] = []
    active = [threads.representatives(visit.active) for visit in visits]
    lacking = [makes & (_like(visit, threads, threads.wholes) < 0) for visit, makes in zip(visits, active, strict=True)]
    total: dict[int, int] = defaultdict(int)
    for visit, makes in zip(visits, active, strict=True):
        total[visit.at] += int(np.count_nonzero(makes))
    while len(threads.wholes) + len(chosen) < min(MORE_WHOLES, MORE_LANES // threads.block):
        counts, shares = np.zeros(threads.programs), dict.fromkeys(total, 0.0)
        for missing, visit in zip(lacking, visits, strict=True):
            if missing.any():
                counts += missing / total[visit.at]
                shares[visit.at] += np.count_nonzero(missing) / total[visit.at]
        if max(shares.values(), default=0.0) <= UNLIKE:
            break
        first = int(counts.argmax())
        alike = np.zeros(threads.programs, dtype=bool)
        for missing, visit in zip(lacking, visits, strict=True):
            if missing[first]:
                like = missing & (_like(visit, threads, [first]) >= 0)
                alike |= like
                missing &= ~like
        chosen += dict.fromkeys((first, int(alike.nonzero()[0][-1])))
    return chosen


def _more_threads(visits: Sequence[Access], threads: Threads) -> list[int]:
    """Return further threads to follow of each program: those that alone are active, or tell unlike programs apart.

    Whole programs show where that is needed.
    """
    chosen: list[int] = []
    columns = list(threads.chosen)
    while len(columns) < MOST_THREADS:
        useful = np.zeros(threads.block, dtype=np.int64)
        for visit in visits:
            active, address = threads.all(visit.active), threads.all(visit.address)
            shape = np.where(active, address - address[:, :1] + 1, 0)  # 0 for a thread that does not make the access
            seen = shape[:, columns]
            useful += (active & ~active[:, columns].any(axis=1, keepdims=True)).sum(axis=0)
            for other in range(1, len(shape)):
                alike = (seen[other] == seen[:other]).all(axis=1)
                useful += (shape[:other][alike] != shape[other]).sum(axis=0)
        if not useful.any():
            break
        chosen.append(int(useful.argmax()))
        columns.append(chosen[-1])
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
    active, address = threads.all(visit.active)[which], threads.all(visit.address)[which]
    if not active.any():
        return None
    offsets = distinct(address[active] - address[0])
    if visit.rows is not None:  # each warp may copy a box of its own
        offsets = (offsets[:, None] + visit.rows).ravel()
    return merged(Pieces(offsets, offsets + visit.size))


def _least_tile(visit: Access) -> Pieces:
    """Return what one thread touches in a visit."""
    rows = visit.rows if visit.rows is not None else np.zeros(1, dtype=np.int64)
    return merged(Pieces(rows, rows + visit.size))
