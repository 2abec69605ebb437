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

from kopt.estimate.arithmetic import Lanes
from kopt.estimate.full_size.accesses import PROGRAMS, Access, Threads, parameter_of
from kopt.estimate.full_size.follow import Visits, alike, followed, like_wholes
from kopt.estimate.full_size.pieces import Found, Pieces, Union, distinct, growth, merged, spread
from kopt.estimate.instructions import PtxProgram
from kopt.estimate.registers import POINTER_SHIFT
from kopt.model.build import Launch

READS = ("load_global", "load_global_wide", "cp_async", "tma_load", "atomic")
WRITES = ("store_global", "store_global_wide", "tma_store", "atomic")
"""Kinds of accesses that read and that write global memory."""
MOST_SPREAD = 30_000_000
"""Pieces of memory that are listed for one parameter; beyond, the bytes behind it are not known."""


@dataclass
class LaunchUse:
    """The bytes that one launch reads and writes through each of its pointer parameters."""

    read: dict[int, Found] = field(default_factory=dict)
    written: dict[int, Found] = field(default_factory=dict)
    bounds: dict[int, tuple[int, int]] = field(default_factory=dict)
    """First and last byte that are accessed for sure behind a parameter."""
    unknown: dict[int, float] = field(default_factory=dict)
    """Bytes, at most, that are accessed at unknown places, by parameter; the parameter is -1 where it may be any."""
    doubtful: dict[int, float] = field(default_factory=dict)
    """Upper bound of the bytes written whose addresses were guessed, by parameter.

    They belong to programs of which a few threads were followed, and these do not tell the program's tile.
    """
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


def launch_use(program: PtxProgram, launch: Launch, contents: dict[int, int], most: int = PROGRAMS) -> LaunchUse:
    """Return what a launch reads and writes behind its parameters.

    Args:
        program: the kernel's code.
        launch: the launch.
        contents: the one value that fills the memory behind a parameter, where it is known.
        most: programs to follow, at most.
    """
    accesses, threads = followed(program, launch, contents, most)
    use = LaunchUse()
    blocks = math.prod(launch.grid) * max(launch.num_ctas, 1)
    use.sampled = threads.programs / blocks
    use.unknown = {index: amount / use.sampled for index, amount in accesses.unknown.items()}
    use.wrapped, use.certain = accesses.wrapped, accesses.complete and not accesses.undecided
    if accesses.complete:
        _add_pieces(use, alike(accesses.visits), threads)
    else:
        use.unknown[-1] = math.inf
    return use


def _add_pieces(use: LaunchUse, visits: Iterable[Visits], threads: Threads) -> None:
    """Add what the visits read and write, and the bounds."""
    tiles: dict[int, Pieces] = {}
    patterns: _Patterns = {}
    for some in visits:
        _add_visits(patterns, some, threads, tiles)
        _add_bounds(use, some)
        _add_doubt(use, some, threads)
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


def _add_visits(patterns: _Patterns, visits: Visits, threads: Threads, tiles: dict[int, Pieces]) -> None:
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
    like = like_wholes(visit, threads, threads.wholes)
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


def _add_bounds(use: LaunchUse, visits: Visits) -> None:
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


def _add_doubt(use: LaunchUse, visits: Visits, threads: Threads) -> None:
    """Add the bytes of the programs whose tile is not known: by their few threads they are like no whole program, or
    like several that differ, or like one that no other confirms."""
    visit, count = visits.first, threads.programs
    if visit.kind not in WRITES:
        return
    like = like_wholes(visit, threads, threads.wholes)
    tiles = [_tile(visit, threads, which) for which in range(len(threads.wholes))]
    known = [which for which in range(len(tiles)) if _is_known(which, like, threads.wholes, tiles)]
    doubtful = threads.representatives(visit.active) & ~np.isin(like, known)
    if not doubtful.any():
        return
    size = max(tile.size() for tile in (*tiles, _least_tile(visit)) if tile is not None)
    turns = visit.count[:count] if visit.count is not None else np.ones(count, dtype=np.int64)
    parameters = parameter_of(visit.address[:count])
    for index in distinct(parameters[doubtful]).tolist():
        number = int(turns[doubtful & (parameters == index)].sum()) * len(visits.distances)
        use.doubtful[index] = use.doubtful.get(index, 0.0) + float(size * number)


def _is_known(which: int, like: Lanes, wholes: Sequence[int], tiles: Sequence[Pieces | None]) -> bool:
    """Return whether the programs like a whole one have its tile: it is the only one, or others confirm it."""
    others = [tiles[at] for at, position in enumerate(wholes) if like[position] == which and at != which]
    if not others:
        return int(np.count_nonzero(like == which)) == 1
    return all(_same(tiles[which], other) for other in others)


def _same(one: Pieces | None, other: Pieces | None) -> bool:
    if one is None or other is None:
        return one is other
    return np.array_equal(one.starts, other.starts) and np.array_equal(one.ends, other.ends)


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
