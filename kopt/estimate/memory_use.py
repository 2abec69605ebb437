"""Say which bytes of its tensors a kernel reads and writes at full size, as traced, and which accesses fall outside.

Bytes count once, however often they are read.  Launches that are equal but for the places of their tensors are executed
once.  A copy on the host reads as much of its source as is read of its result.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kopt.estimate.accesses import Access, Accesses, Threads, choose_threads, parameter_of
from kopt.estimate.arithmetic import Lanes
from kopt.estimate.execute import Executor
from kopt.estimate.instructions import PtxProgram
from kopt.estimate.parameters import arguments_by_parameter, descriptors, scalar_values
from kopt.estimate.registers import POINTER_SHIFT
from kopt.model.build import HostOp, Launch, WorkloadBuild
from kopt.model.problem import DTYPE_BYTES, WorkloadFacts

READS = ("load_global", "load_global_wide", "cp_async", "tma_load", "atomic")
WRITES = ("store_global", "store_global_wide", "tma_store", "atomic")
MOST_PIECES = 2_000_000
"""Pieces of memory that are listed one by one; beyond, a progression counts as all that lies between its ends."""
MORE_PROGRAMS = 8
"""Programs that are followed with all threads, beside the usual two, for accesses that those do not make."""

_LAYOUT = re.compile(r"(\w+)\[([\d,\s]*)\]\[([\d,\s-]*)\]")


class Pieces(NamedTuple):
    """Pieces of one tensor, in bytes from the tensor's pointer."""

    starts: Lanes
    ends: Lanes

    def moved(self, by: int) -> Pieces:
        """Return the pieces at another distance."""
        return Pieces(self.starts + by, self.ends + by)


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
class MemoryUse:
    """What a kernel reads and writes on one workload."""

    read: dict[str, float] = field(default_factory=dict)
    """Distinct bytes read, at most, by the name of the memory (`input 0`); infinite where that is not known."""
    written: dict[str, float] = field(default_factory=dict)
    """The same for bytes written."""
    unknown: dict[str, float] = field(default_factory=dict)
    """Those of the bytes read and written that are accessed at unknown places, at most."""
    outside: str = ""
    """The first access outside of its memory, in words."""
    wrapped: bool = False
    """Whether a 32-bit sum or product overflowed in address arithmetic."""
    sampled: float = 1.0
    """Share of the programs that were followed, in the launch of which least were."""


class Found(NamedTuple):
    """Pieces that a launch accesses in one way."""

    pieces: Pieces
    growth: float = 1.0
    """Bytes of all programs over those of the programs that were followed."""

    def moved(self, by: int) -> Found:
        """Return the pieces at another distance."""
        return Found(self.pieces.moved(by), self.growth)


class _Memory(NamedTuple):
    """The memory behind a pointer."""

    name: str
    offset: int


def memory_use(
    build: WorkloadBuild, launches: Iterable[Launch], facts: WorkloadFacts, program_of: Callable[[str], PtxProgram]
) -> MemoryUse:
    """Return what a kernel reads and writes on a workload.

    Args:
        build: the kernel's build on the workload.
        launches: of its launches those that run: one of the configurations of each autotuned call.
        facts: the workload's facts.
        program_of: returns the code for a digest of PTX.
    """
    sizes, fills = memory_sizes(build, facts), host_fills(build)
    use = MemoryUse()
    known: dict[tuple[object, ...], LaunchUse] = {}
    read: dict[str, list[Found]] = defaultdict(list)
    written: dict[str, list[Found]] = defaultdict(list)
    beyond: dict[str, float] = defaultdict(float)  # bytes at unknown places
    counted: set[tuple[object, ...]] = set()
    for launch in launches:
        if math.prod(launch.grid) == 0:
            continue
        program = program_of(launch.ptx)
        parameters = dict(arguments_by_parameter(program, launch))
        contents = constant_contents(build, launch, program, fills)
        shapes = tuple(sorted(descriptors(program, launch).items()))
        key = (
            launch.ptx,
            launch.grid,
            launch.num_warps,
            shapes,
            tuple(sorted(scalar_values(program, launch).items())),
            tuple(sorted(contents.items())),
        )
        if key not in known:
            known[key] = launch_use(program, launch, contents)
        found = known[key]
        places = {name: _place(text) for name, text in launch.pointers}
        use.wrapped |= found.wrapped
        use.sampled = min(use.sampled, found.sampled)
        for index, name in parameters.items():
            if (place := places.get(name)) is None:
                continue
            beyond[place.name] += found.unknown.get(index, 0.0) + found.unknown.get(-1, 0.0)
            if (key, index, place) in counted:
                continue  # an equal launch has accessed the same bytes
            counted.add((key, index, place))
            read[place.name] += [one.moved(place.offset) for one in found.read.get(index, ())]
            written[place.name] += [one.moved(place.offset) for one in found.written.get(index, ())]
            if index in found.bounds and found.certain:
                use.outside = use.outside or _outside(launch, name, place, found.bounds[index], sizes)
    _add_host_operations(build.host_ops, sizes, read, written, beyond)
    use.read = {name: _bytes(read[name], sizes.get(name)) + beyond[name] for name in {*read, *beyond}}
    use.unknown = dict(beyond)
    use.written = {name: _bytes(written[name], sizes.get(name)) + beyond[name] for name in {*written, *beyond}}
    return use


# One launch


def launch_use(program: PtxProgram, launch: Launch, contents: dict[int, int]) -> LaunchUse:
    """Return what a launch reads and writes behind its parameters.

    Args:
        program: the kernel's code.
        launch: the launch.
        contents: the one value that fills the memory behind a parameter, where it is known.
    """
    threads = choose_threads(launch.grid, launch.num_warps * 32, max(launch.num_ctas, 1))
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
        other = choose_threads(
            launch.grid, launch.num_warps * 32, max(launch.num_ctas, 1), chosen=[int(threads.program[most])]
        )
        for visit in follow(other).visits:
            if visit.at in missing and (tile := _tile(visit, other)) is not None:
                tiles.setdefault(visit.at, tile)
        missing = {at: active for at, active in missing.items() if at not in tiles and not active[most]}
    return tiles


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
        tile = _merged(_joined(self.tiles))
        pieces = _spread(self.anchors, self.steps, self.counts, tile)
        if sampled == 1.0:
            return Found(pieces)
        once = _distinct(self.anchors)
        return Found(pieces, growth(len(once), len(self.anchors), sampled))


def _add_visit(
    patterns: dict[_PatternKey, list[_Pattern]], visit: Access, threads: Threads, tiles: dict[int, Pieces]
) -> None:
    count = threads.programs
    active = threads.representatives(visit.active)
    if not active.any():
        return
    anchors = visit.address[:count]
    parameters = parameter_of(anchors)
    tile = _tile(visit, threads) or tiles.get(visit.at) or _one_piece(0, visit.size)
    tiles.setdefault(visit.at, tile)
    for index in _distinct(parameters[active]).tolist():
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
        for parameter in _distinct(index).tolist():
            own = ends[index == parameter] - ((parameter + 1) << POINTER_SHIFT)
            low, high = int(own.min()), int(own.max()) + visit.size
            old = use.bounds.get(parameter, (low, high))
            use.bounds[parameter] = (min(low, old[0]), max(high, old[1]))


def _tile(visit: Access, threads: Threads) -> Pieces | None:
    """Return the pieces that one whole program touches in a visit, from its first thread's address."""
    if visit.rows is not None:
        return _merged(Pieces(visit.rows, visit.rows + visit.size))
    for which in (1, 0):
        part = threads.whole(which)
        active = visit.active[part]
        if active.any():
            offsets = _distinct(visit.address[part][active] - visit.address[part][0])
            return _merged(Pieces(offsets, offsets + visit.size))
    return None


def _spread(anchors: Lanes, steps: Lanes | None, counts: Lanes | None, tile: Pieces) -> Pieces:
    """Return the pieces of all programs: the tile at every anchor, and at every step of a progression."""
    if steps is None or counts is None:
        anchors = _distinct(anchors)
        return Pieces((anchors[:, None] + tile.starts).ravel(), (anchors[:, None] + tile.ends).ravel())
    rows = _distinct_columns(np.stack([anchors, steps, counts]))
    anchors, steps, counts = rows
    narrow = int((tile.ends - tile.starts).min())
    dense = np.abs(steps) <= narrow
    pieces = int(counts.sum()) * len(tile.starts)
    if dense.all() or pieces > MOST_PIECES:
        low, high = (
            np.minimum(anchors, anchors + steps * (counts - 1)),
            np.maximum(anchors, anchors + steps * (counts - 1)),
        )
        return Pieces((low[:, None] + tile.starts).ravel(), (high[:, None] + tile.ends).ravel())
    places = np.repeat(anchors, counts)
    turns = np.arange(len(places)) - np.repeat(np.cumsum(counts) - counts, counts)
    places = _distinct(places + turns * np.repeat(steps, counts))
    return Pieces((places[:, None] + tile.starts).ravel(), (places[:, None] + tile.ends).ravel())


def _distinct(values: Lanes) -> Lanes:
    """Return the sorted distinct values; by sorting, which is faster here than numpy's way by hashes."""
    ordered = np.sort(values, axis=None)
    return ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])] if len(ordered) else ordered


def _distinct_columns(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    ordered = rows[:, np.lexsort(rows[::-1])]
    different = (ordered[:, 1:] != ordered[:, :-1]).any(axis=0)
    return ordered[:, np.concatenate([[True], different])]


def _merged(pieces: Pieces) -> Pieces:
    """Return the same bytes in pieces that neither touch nor overlap, in order."""
    order = np.argsort(pieces.starts, kind="stable")
    starts, ends = pieces.starts[order], np.maximum.accumulate(pieces.ends[order])
    begins = np.concatenate([[True], starts[1:] > ends[:-1]])
    last = np.concatenate([begins[1:], [True]])
    return Pieces(starts[begins], ends[last])


def growth(distinct: int, every: int, sampled: float) -> float:
    """Return the bytes of all programs over those of a random sample of them.

    Where each byte belongs to `r` programs, a sample of a share `f` finds `1 - (1 - f)^r` of the bytes, `f r` times.

    Args:
        distinct: places of the sampled programs that differ.
        every: sampled programs.
        sampled: share of the programs that were sampled.
    """
    low, high = 1.0, 1e9
    for _ in range(60):
        middle = math.sqrt(low * high)
        share = -math.expm1(middle * math.log1p(-sampled)) / (sampled * middle)
        low, high = (middle, high) if share > distinct / every else (low, middle)
    return 1.0 / -math.expm1(low * math.log1p(-sampled))


def _bytes(found: list[Found], size: float | None) -> float:
    """Return the distinct bytes of pieces inside a memory of `size` bytes."""
    if not found:
        return 0.0
    total = float(_length(_merged(_joined([one.pieces for one in found])), size))
    total *= max(one.growth for one in found)
    return min(total, size) if size is not None else total


def _joined(pieces: list[Pieces]) -> Pieces:
    return Pieces(np.concatenate([one.starts for one in pieces]), np.concatenate([one.ends for one in pieces]))


def _length(pieces: Pieces, size: float | None) -> int:
    starts, ends = np.maximum(pieces.starts, 0), pieces.ends
    if size is not None:
        ends = np.minimum(ends, int(size))
    return int(np.maximum(ends - starts, 0).sum())


# A workload


def memory_sizes(build: WorkloadBuild, facts: WorkloadFacts) -> dict[str, int]:
    """Return the bytes of each memory: inputs and parameters by the facts, allocations by the host's operations."""
    sizes: dict[str, int] = {}
    for spec in (*facts.inputs, *facts.parameters):
        if spec.place:
            sizes[spec.place] = max(sizes.get(spec.place, 0), spec.end or spec.bytes)
    for operation in build.host_ops:
        for text in operation.pointers[len(operation.shapes) :]:
            _keep_size(sizes, text)
    return sizes


def _keep_size(sizes: dict[str, int], text: str) -> None:
    pointer, _, layout = text.rpartition(" ")
    match = _LAYOUT.fullmatch(layout)
    place = _place(pointer)
    if match and place.name.startswith("allocation"):
        sizes[place.name] = max(sizes.get(place.name, 0), place.offset + _extent(match))


def _extent(match: re.Match[str]) -> int:
    """Return the bytes from a view's first element to behind its last."""
    shape, strides = _numbers(match[2]), _numbers(match[3])
    if 0 in shape:
        return 0
    span = 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    return span * DTYPE_BYTES.get(match[1], 4)


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part.strip()]


def _place(text: str) -> _Memory:
    """Parse `input 0 + 512`, perhaps followed by a descriptor's shape, strides and block."""
    text = text.partition(" [")[0]
    name, _, offset = text.partition(" + ")
    return _Memory(name, int(offset or 0))


def _outside(launch: Launch, name: str, place: _Memory, bounds: tuple[int, int], sizes: dict[str, int]) -> str:
    size = sizes.get(place.name)
    if size is None or not size:
        return ""
    low, high = bounds[0] + place.offset, bounds[1] + place.offset
    if low >= 0 and high <= size:
        return ""
    where = f"{-low} bytes before the begin" if low < 0 else f"{high - size} bytes behind the end"
    return f"{launch.kernel}: {name} is accessed {where} of its {size} bytes ({place.name})"


# Operations of the host


class _Fill(NamedTuple):
    """A fill or copy on the host: from this launch call on, memory has one value, or an unknown one."""

    before: int
    name: str
    value: int | None


def host_fills(build: WorkloadBuild) -> list[_Fill]:
    """Return the fills and copies of a workload that touch allocations, in order; none where no value is known."""
    fills = [
        _Fill(operation.before, name, _fill_value(operation) if operation.kind == "fill" else None)
        for operation in build.host_ops
        if operation.kind in ("fill", "copy")
        for text in operation.pointers
        if (name := _place(text.rpartition(" ")[0]).name).startswith("allocation")
    ]
    return fills if any(fill.value is not None for fill in fills) else []


def constant_contents(
    build: WorkloadBuild, launch: Launch, program: PtxProgram, fills: Iterable[_Fill]
) -> dict[int, int]:
    """Return the one value that fills the memory behind a parameter, by its index, where the host filled it.

    A memory that an earlier launch gets is left out: the launch may have written to it.
    """
    filled = {fill.name: fill.value for fill in fills if fill.before <= launch.call}
    places = {name: _place(text).name for name, text in launch.pointers}
    mine = {name for name in places.values() if filled.get(name) is not None}
    if not mine:
        return {}
    earlier = (other for other in build.launches if other.call < launch.call)
    mine -= {_place(text).name for other in earlier for _, text in other.pointers}
    return {
        index: value
        for index, name in arguments_by_parameter(program, launch)
        if places.get(name) in mine and (value := filled[places[name]]) is not None
    }


def _fill_value(operation: HostOp) -> int | None:
    """Return the integer with which a host operation fills its result; None where it is none or not known."""
    name = operation.name.split(".")[1] if "." in operation.name else operation.name
    if "zero" in name:
        return 0
    layout = _LAYOUT.search(operation.pointers[-1]) if operation.pointers else None
    if layout is None or not layout[1].lstrip("u").startswith("int"):
        return None
    if "ones" in name:
        return 1
    place = {"full": len(_numbers(layout[2])), "new_full": len(_numbers(layout[2]))}.get(name, 0)
    if name in ("full", "new_full", "full_like", "fill_", "fill") and place < len(operation.scalars):
        text = operation.scalars[place]
        return int(text) if text.lstrip("-").isdigit() else None
    return None


def _add_host_operations(
    operations: Iterable[HostOp], sizes: dict[str, int], read: _Uses, written: _Uses, beyond: dict[str, float]
) -> None:
    """Add what fills and copies on the host write, and what copies read: as much as is read of their results."""
    for operation in reversed(list(operations)):
        if operation.kind not in ("fill", "copy") or not operation.pointers:
            continue
        *sources, result = operation.pointers
        if operation.name.split(".")[1].endswith("_") and operation.kind == "copy":  # copy_(target, source)
            result, sources = operation.pointers[0], list(operation.pointers[1:-1])
        if operation.kind == "fill":
            sources = []
        target = _place(result.rpartition(" ")[0])
        extent = _view_bytes(result)
        size = sizes.get(target.name, extent)
        share = 1.0
        if sources:
            used = _bytes(read[target.name], size) + beyond[target.name]
            share = min(used / max(size, 1), 1.0)
        written[target.name].append(Found(_one_piece(target.offset, extent)))
        for source in sources:
            place = _place(source.rpartition(" ")[0])
            read[place.name].append(Found(_one_piece(place.offset, int(_view_bytes(source) * share))))


_Uses = dict[str, list[Found]]


def _one_piece(start: int, length: int) -> Pieces:
    return Pieces(np.array([start], dtype=np.int64), np.array([start + length], dtype=np.int64))


def _view_bytes(text: str) -> int:
    """Return the distinct bytes of a view that is written as `input 0 + 8 bfloat16[4,8][0,1]`."""
    match = _LAYOUT.search(text)
    if match is None:
        return 0
    shape, strides = _numbers(match[2]), _numbers(match[3])
    moving = math.prod(size for size, stride in zip(shape, strides, strict=True) if stride) if 0 not in shape else 0
    return min(moving * DTYPE_BYTES.get(match[1], 4), _extent(match))
