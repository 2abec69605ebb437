"""Say what the host does to a kernel's memory: how much it allocates, what it fills, and what it copies."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import NamedTuple

from kopt.estimate.full_size.pieces import Found, distinct_bytes, one_piece
from kopt.estimate.instructions import PtxProgram
from kopt.estimate.parameters import arguments_by_parameter, numbers
from kopt.model.build import HostOp, Launch, WorkloadBuild
from kopt.model.problem import DTYPE_BYTES, WorkloadFacts

_LAYOUT = re.compile(r"(\w+)\[([\d,\s]*)\]\[([\d,\s-]*)\]")


class Place(NamedTuple):
    """Where a pointer points to."""

    name: str
    """Name of the memory: `input 0`."""
    offset: int
    """Bytes from its begin."""


class Fill(NamedTuple):
    """A fill or copy on the host: from this launch call on, memory has one value, or an unknown one."""

    before: int
    """Number of the launch call that comes next."""
    name: str
    """Name of the memory."""
    value: int | None


def place_of(text: str) -> Place:
    """Parse `input 0 + 512`, perhaps followed by a descriptor's shape, strides and block."""
    text = text.partition(" [")[0]
    name, _, offset = text.partition(" + ")
    return Place(name, int(offset or 0))


def _view_place(text: str) -> Place:
    """Return where a view begins that is written as `input 0 + 8 bfloat16[4,8][0,1]`."""
    return place_of(text.rpartition(" ")[0])


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
    """Raise the size of an allocation to what a view needs."""
    match = _LAYOUT.fullmatch(text.rpartition(" ")[2])
    place = _view_place(text)
    if match and place.name.startswith("allocation"):
        sizes[place.name] = max(sizes.get(place.name, 0), place.offset + _extent(match))


def host_fills(build: WorkloadBuild) -> list[Fill]:
    """Return the fills and copies of a workload that touch allocations, in order; none where no value is known."""
    fills = [
        Fill(operation.before, name, _fill_value(operation) if operation.kind == "fill" else None)
        for operation in build.host_ops
        if operation.kind in ("fill", "copy")
        for text in operation.pointers
        if (name := _view_place(text).name).startswith("allocation")
    ]
    return fills if any(fill.value is not None for fill in fills) else []


def constant_contents(
    build: WorkloadBuild, launch: Launch, program: PtxProgram, fills: Iterable[Fill]
) -> dict[int, int]:
    """Return the one value that fills the memory behind a parameter, by its index, where the host filled it.

    A memory that an earlier launch gets is left out: the launch may have written to it.
    """
    filled = {fill.name: fill.value for fill in fills if fill.before <= launch.call}
    places = {name: place_of(text).name for name, text in launch.pointers}
    mine = {name for name in places.values() if filled.get(name) is not None}
    if not mine:
        return {}
    earlier = (other for other in build.launches if other.call < launch.call)
    mine -= {place_of(text).name for other in earlier for _, text in other.pointers}
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
    place = {"full": len(numbers(layout[2])), "new_full": len(numbers(layout[2]))}.get(name, 0)
    if name in ("full", "new_full", "full_like", "fill_", "fill") and place < len(operation.scalars):
        text = operation.scalars[place]
        return int(text) if text.lstrip("-").isdigit() else None
    return None


def add_host_operations(
    operations: Iterable[HostOp], sizes: dict[str, int], read: dict[str, list[Found]],
    written: dict[str, list[Found]], unknown: dict[str, float],
) -> None:  # fmt: skip
    """Add what fills and copies on the host write, and what copies read: as much as is read of their results.

    Args:
        operations: those of the host, in order.
        sizes: bytes of each memory.
        read: what is read of each memory; entries are added.
        written: what is written to each memory; entries are added.
        unknown: bytes of each memory that are accessed at unknown places.
    """
    for operation in reversed(list(operations)):
        if operation.kind not in ("fill", "copy") or not operation.pointers:
            continue
        *sources, result = operation.pointers
        if operation.name.split(".")[1].endswith("_") and operation.kind == "copy":  # copy_(target, source)
            result, sources = operation.pointers[0], list(operation.pointers[1:-1])
        if operation.kind == "fill":
            sources = []
        target = _view_place(result)
        extent = _view_bytes(result)
        size = sizes.get(target.name, extent)
        share = 1.0
        if sources:
            used = distinct_bytes(read[target.name], size) + unknown[target.name]
            share = min(used / max(size, 1), 1.0)
        written[target.name].append(Found(one_piece(target.offset, extent)))
        for source in sources:
            place = _view_place(source)
            read[place.name].append(Found(one_piece(place.offset, int(_view_bytes(source) * share))))


def _view_bytes(text: str) -> int:
    """Return the distinct bytes of a view that is written as `input 0 + 8 bfloat16[4,8][0,1]`."""
    match = _LAYOUT.search(text)
    if match is None:
        return 0
    shape, strides = numbers(match[2]), numbers(match[3])
    moving = math.prod(size for size, stride in zip(shape, strides, strict=True) if stride) if 0 not in shape else 0
    return min(moving * DTYPE_BYTES.get(match[1], 4), _extent(match))


def _extent(match: re.Match[str]) -> int:
    """Return the bytes from a view's first element to behind its last."""
    shape, strides = numbers(match[2]), numbers(match[3])
    if 0 in shape:
        return 0
    span = 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    return span * DTYPE_BYTES.get(match[1], 4)
