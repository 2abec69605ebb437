"""Say which bytes of its tensors a kernel reads and writes at full size, as traced, and which accesses fall outside.

Bytes count once, however often they are read.  Launches that are equal but for the places of their tensors are executed
once.  A copy on the host reads as much of its source as is read of its result.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from kopt.estimate.full_size.accesses import PROGRAMS
from kopt.estimate.full_size.host_memory import (
    Place,
    add_host_operations,
    constant_contents,
    host_fills,
    memory_sizes,
    place_of,
)
from kopt.estimate.full_size.launch_use import LaunchUse, launch_use
from kopt.estimate.full_size.pieces import Found, distinct_bytes
from kopt.estimate.instructions import PtxProgram
from kopt.estimate.parameters import arguments_by_parameter, descriptors, scalar_values
from kopt.model.build import Launch, WorkloadBuild
from kopt.model.problem import WorkloadFacts


@dataclass
class MemoryUse:
    """What a kernel reads and writes on one workload."""

    read: dict[str, float] = field(default_factory=dict)
    """Distinct bytes read, at most, by the name of the memory (`input 0`); infinite where that is not known."""
    written: dict[str, float] = field(default_factory=dict)
    """The same for bytes written."""
    unknown: dict[str, float] = field(default_factory=dict)
    """Those of the bytes read and written that are accessed at unknown places, at most."""
    doubtful: dict[str, float] = field(default_factory=dict)
    """Upper bound of the bytes in `written` whose addresses were guessed, and may be others."""
    outside: str = ""
    """The first access outside of its memory, in words."""
    wrapped: bool = False
    """Whether a 32-bit sum or product overflowed in address arithmetic."""
    sampled: float = 1.0
    """Share of the programs that were followed, in the launch of which least were."""
    certain: bool = True
    """Whether every launch was followed to its end, and every visit happens."""


def memory_use(
    build: WorkloadBuild, launches: Iterable[Launch], facts: WorkloadFacts, program_of: Callable[[str], PtxProgram],
    most: int = PROGRAMS,
) -> MemoryUse:  # fmt: skip
    """Return what a kernel reads and writes on a workload.

    Args:
        build: the kernel's build on the workload.
        launches: of its launches those that run: one of the configurations of each autotuned call.
        facts: the workload's facts.
        program_of: returns the code for a digest of PTX.
        most: programs of a launch to follow, at most.
    """
    sizes, fills = memory_sizes(build, facts), host_fills(build)
    use = MemoryUse()
    known: dict[tuple[object, ...], LaunchUse] = {}
    read: dict[str, list[Found]] = defaultdict(list)
    written: dict[str, list[Found]] = defaultdict(list)
    unknown: dict[str, float] = defaultdict(float)  # bytes at unknown places
    counted: set[tuple[object, ...]] = set()
    given = {spec.place for spec in (*facts.inputs, *facts.parameters) if spec.place}
    for launch in launches:
        if math.prod(launch.grid) == 0:
            continue
        program = program_of(launch.ptx)
        contents = constant_contents(build, launch, program, fills)
        key = _key(program, launch, contents)
        if key not in known:
            known[key] = launch_use(program, launch, contents, most)
        found = known[key]
        places = {name: place_of(text) for name, text in launch.pointers}
        use.wrapped |= found.wrapped
        use.sampled = min(use.sampled, found.sampled)
        use.certain &= found.certain
        for other, beyond in _described_beyond(program, launch, found, given, sizes).items():
            unknown[other] += beyond
        for index, name in arguments_by_parameter(program, launch):
            if (place := places.get(name)) is None:
                continue
            unknown[place.name] += found.unknown.get(index, 0.0) + found.unknown.get(-1, 0.0)
            if (key, index, place) in counted:
                continue  # an equal launch has accessed the same bytes
            counted.add((key, index, place))
            if index in found.read:
                read[place.name].append(found.read[index].moved(place.offset))
            use.doubtful[place.name] = use.doubtful.get(place.name, 0.0) + found.doubtful.get(index, 0.0)
            if index in found.written:
                written[place.name].append(found.written[index].moved(place.offset))
            if index in found.bounds and found.certain:
                use.outside = use.outside or _outside(launch, name, place, found.bounds[index], sizes)
    add_host_operations(build.host_ops, sizes, read, written, unknown)
    use.read = {name: distinct_bytes(read[name], sizes.get(name)) + unknown[name] for name in {*read, *unknown}}
    use.unknown = dict(unknown)
    use.written = {
        name: distinct_bytes(written[name], sizes.get(name)) + unknown[name] for name in {*written, *unknown}
    }
    return use


def _described_beyond(
    program: PtxProgram, launch: Launch, found: LaunchUse, given: set[str], sizes: dict[str, int]
) -> dict[str, float]:
    """Return how many bytes descriptors read outside of their memories, for each given memory that the launch may mean.

    A descriptor may span several tensors, as one of two weights does whose outer stride is the distance between them.
    A build does not tell addresses, so that the bytes count for every given memory that the launch does not name.

    Args:
        program: code of the launch.
        launch: the launch.
        found: what it accesses.
        given: names of the memories of inputs and parameters.
        sizes: bytes of each memory.
    """
    places = {name: place_of(text) for name, text in launch.pointers}
    names, beyond = dict(arguments_by_parameter(program, launch)), 0.0
    for index in descriptors(program, launch):
        place = places.get(names[index])
        if place is not None and index in found.read and place.name in sizes:
            pieces = [found.read[index].moved(place.offset)]
            beyond += distinct_bytes(pieces, None) - distinct_bytes(pieces, sizes[place.name])
    others = given - {place.name for place in places.values()}
    return dict.fromkeys(others, beyond) if beyond > 0 else {}


def _key(program: PtxProgram, launch: Launch, contents: dict[int, int]) -> tuple[object, ...]:
    """Return what launches have in common that differ in the places of their tensors alone."""
    known = (descriptors(program, launch), scalar_values(program, launch), contents)
    return (launch.ptx, launch.grid, launch.num_warps, *(tuple(sorted(values.items())) for values in known))


def _outside(launch: Launch, name: str, place: Place, bounds: tuple[int, int], sizes: dict[str, int]) -> str:
    """Say that a launch accesses bytes outside of a memory; empty where it does not, or the size is not known."""
    size = sizes.get(place.name)
    if not size:
        return ""
    low, high = bounds[0] + place.offset, bounds[1] + place.offset
    if low >= 0 and high <= size:
        return ""
    where = f"{-low} bytes before the begin" if low < 0 else f"{high - size} bytes behind the end"
    return f"{launch.kernel}: {name} is accessed {where} of its {size} bytes ({place.name})"
