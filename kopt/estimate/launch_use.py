"""Say which bytes one launch reads and writes behind each of its pointer parameters.

All programs are followed with a few threads, some programs with all: what a whole program touches in a visit, its tile,
is found at the address of every program whose few threads are as far apart.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from kopt.estimate.accesses import PROGRAMS, Access, Accesses, Threads, choose_threads, parameter_of
from kopt.estimate.arithmetic import Lanes
from kopt.estimate.execute import STEP_LIMIT, Executor
from kopt.estimate.instructions import PtxProgram
from kopt.estimate.parameters import descriptors, scalar_values
from kopt.estimate.pieces import Found, Pieces, Union, distinct, growth, merged, spread
from kopt.estimate.registers import POINTER_SHIFT
from kopt.model.build import Launch

READS = ("load_global", "load_global_wide", "cp_async", "tma_load", "atomic")
WRITES = ("store_global", "store_global_wide", "tma_store", "atomic")
"""Kinds of accesses that read and that write global memory."""
MORE_ROUNDS = 3
"""Times, at most, that a launch is followed again with more programs and threads."""
MORE_WHOLES, MORE_LANES = 36, 9216
"""Programs that are followed with all threads, and these threads, at most."""
MOST_WORK = 200_000_000
"""Instructions, times threads that execute them, beyond which a launch is not followed with more threads."""
MOST_THREADS = 6
"""Threads of every program that are followed, at most, where fewer do not tell programs apart."""
SOME_VISITS = 300
"""Visits, at most, that are looked at for what more to follow."""
UNLIKE = 0.01
"""Share of the programs' visits of an instruction whose tile may be that of no whole program."""
MOST_SPREAD = 30_000_000
"""Pieces of memory that are listed for one parameter; beyond, the bytes behind it are not known."""
FEW_PROGRAMS, MANY_STEPS = 256, 250_000
"""Programs to follow, and instructions to execute, where there are too many instructions for all programs."""


@dataclass
class LaunchUse:
    """What one launch reads and writes behind each of its pointer parameters."""

    read: dict[int, Found] = field(default_factory=dict)
    written: dict[int, Found] = field(default_factory=dict)
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
class _Visits:
    """Visits of the walk to one access that differ by a distance alone, which all threads have in common."""

    first: Access
    distances: Lanes
    """Distance of each from the first one."""


@dataclass
class _Pattern:
    """Visits that differ by a distance that is the same for all programs: one tile at every program's anchor."""

    anchors: Lanes
    steps: Lanes | None
    counts: Lanes | None
    tile: Union = field(default_factory=Union)

    def number(self) -> int:
        """Return the number of pieces of all programs, about."""
        return len(self.anchors) * len(self.tile.merged().starts)

    def pieces(self) -> Iterator[Pieces]:
        """Yield the pieces of all programs."""
        yield from spread(self.anchors, self.steps, self.counts, self.tile.merged())

    def growth(self, sampled: float) -> float:
        """Return the bytes of all programs over those of the programs that were followed, a share of all."""
        return growth(len(distinct(self.anchors)), len(self.anchors), sampled) if sampled < 1.0 else 1.0


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
    if not accesses.complete and accesses.steps_to_end <= MANY_STEPS:
        most, steps = FEW_PROGRAMS, MANY_STEPS
        threads = choose_threads(launch.grid, block, cluster, most=most)
        accesses = follow(threads, steps)
    for _ in range(MORE_ROUNDS if accesses.complete else 0):
        some = _some_visits(accesses.visits)
        lanes = MOST_WORK // accesses.steps - len(threads.tid)
        wholes, chosen = _more_wholes(some, threads, lanes), _more_threads(some, threads, lanes)
        if not wholes and not chosen:
            break
        wholes, chosen = [*threads.wholes, *wholes], [*threads.chosen, *chosen]
        threads = choose_threads(launch.grid, block, cluster, most=most, wholes=wholes, chosen=chosen)
        accesses = follow(threads, steps)
    use = LaunchUse()
    blocks = math.prod(launch.grid) * max(launch.num_ctas, 1)
    use.sampled = threads.programs / blocks
    use.unknown = {index: amount / use.sampled for index, amount in accesses.unknown.items()}
    use.wrapped, use.certain = accesses.wrapped, accesses.complete and not accesses.undecided
    if accesses.complete:
        _add_pieces(use, _alike(accesses.visits), threads)
    else:
        use.unknown[-1] = math.inf
    return use


def _add_pieces(use: LaunchUse, visits: Iterable[_Visits], threads: Threads) -> None:
    """Add what the visits read and write, and the bounds."""
    tiles: dict[int, Pieces] = {}
    patterns: _Patterns = {}
    for alike in visits:
        _add_visits(patterns, alike, threads, tiles)
        _add_bounds(use, alike)
    numbers: dict[int, int] = defaultdict(int)
    for (index, _, _), pattern in patterns.items():
        numbers[index] += pattern.number()
    use.unknown |= {index: math.inf for index, number in numbers.items() if number > MOST_SPREAD}
    unions: dict[tuple[int, bool], tuple[Union, float]] = {}
    for (index, kind, _), pattern in patterns.items():
        if numbers[index] > MOST_SPREAD:
            continue
        ways = [written for written, kinds in ((False, READS), (True, WRITES)) if kind in kinds]
        for way in ways:
            union, most = unions.get((index, way), (Union(), 1.0))
            unions[index, way] = union, max(most, pattern.growth(use.sampled))
        for pieces in pattern.pieces():
            for way in ways:
                unions[index, way][0].add(pieces)
    for (index, written), (union, most) in unions.items():
        (use.written if written else use.read)[index] = Found(union.merged(), most)


def _alike(visits: Iterable[Access]) -> list[_Visits]:
    """Put the visits together that differ by a distance alone."""
    groups: dict[object, list[Access]] = defaultdict(list)
    for number, visit in enumerate(visits):
        groups[(visit.at, id(visit.base), id(visit.active)) if visit.step is None else number].append(visit)
    return [
        _Visits(group[0], np.array([visit.shift - group[0].shift for visit in group], dtype=np.int64))
        for group in groups.values()
    ]


def _some_visits(visits: Sequence[Access]) -> list[_Visits]:
    """Return some visits of each instruction, spread over its visits; of those that are alike the first."""
    by_place: dict[int, list[_Visits]] = defaultdict(list)
    for alike in _alike(visits):
        by_place[alike.first.at].append(alike)
    most = max(SOME_VISITS // max(len(by_place), 1), 3)
    return [alike for of in by_place.values() for alike in of[:: len(of) // most + 1]]


def _more_wholes(some: Sequence[_Visits], threads: Threads, most: int) -> list[int]:
    """Return the positions of further programs to follow with all threads: those whose tiles the others lack.

    Of programs that look alike by their few threads two are chosen: they may show that they are not.

    Args:
        some: visits.
        threads: the threads that were followed.
        most: further threads to follow, at most.
    """
    chosen: list[int] = []
    visits, weights = [alike.first for alike in some], [len(alike.distances) for alike in some]
    active = [threads.representatives(visit.active) for visit in visits]
    lacking = [makes & (_like(visit, threads, threads.wholes) < 0) for visit, makes in zip(visits, active, strict=True)]
    total: dict[int, int] = defaultdict(int)
    for visit, weight, makes in zip(visits, weights, active, strict=True):
        total[visit.at] += weight * int(np.count_nonzero(makes))
    most_wholes = min(MORE_WHOLES, MORE_LANES // threads.block, len(threads.wholes) + most // threads.block)
    while len(threads.wholes) + len(chosen) < most_wholes:
        counts, shares = np.zeros(threads.programs), dict.fromkeys(total, 0.0)
        for missing, weight, visit in zip(lacking, weights, visits, strict=True):
            if missing.any():
                counts += missing * (weight / total[visit.at])
                shares[visit.at] += weight * np.count_nonzero(missing) / total[visit.at]
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


def _more_threads(some: Sequence[_Visits], threads: Threads, most: int) -> list[int]:
    """Return further threads to follow of each program: those that alone are active, or tell unlike programs apart.

    Whole programs show where that is needed.

    Args:
        some: visits.
        threads: the threads that were followed.
        most: further threads to follow, at most, in all programs.
    """
    chosen: list[int] = []
    columns = list(threads.chosen)
    while len(columns) < min(MOST_THREADS, len(threads.chosen) + most // threads.programs):
        useful = np.zeros(threads.block, dtype=np.int64)
        for visit in (alike.first for alike in some):
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


def _add_visits(patterns: _Patterns, visits: _Visits, threads: Threads, tiles: dict[int, Pieces]) -> None:
    """Add visits to the patterns: to those from which they differ by a distance alone, else as new ones.

    Args:
        patterns: those of the visits so far.
        visits: visits that are alike.
        threads: the threads that were followed.
        tiles: what a program touches, by instruction, for visits that no whole program makes.
    """
    visit, count = visits.first, threads.programs
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
            pattern = patterns.setdefault(key, _Pattern(own, steps, counts))
            for pieces in spread(visits.distances + int(own[0] - pattern.anchors[0]), None, None, tile):
                pattern.tile.add(pieces)


def _digest(*arrays: npt.NDArray[Any] | None) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
    return digest.digest()


def _add_bounds(use: LaunchUse, visits: _Visits) -> None:
    """Widen the bounds by the threads that make the accesses for sure."""
    visit, sure = visits.first, visits.first.certain
    if visit.kind.startswith("tma") or not sure.any():
        return
    first = visit.address[sure]
    last = first
    if visit.step is not None and visit.count is not None:
        last = first + visit.step[sure] * (visit.count[sure] - 1)
    nearest, farthest = int(visits.distances.min()), int(visits.distances.max())
    for ends in (first, last):
        index = parameter_of(ends)
        for parameter in distinct(index).tolist():
            own = ends[index == parameter] - ((parameter + 1) << POINTER_SHIFT)
            low, high = int(own.min()) + nearest, int(own.max()) + farthest + visit.size
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
