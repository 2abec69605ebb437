"""Choose the programs and threads of a launch to follow, and follow them.

All programs are followed with a few threads, some programs with all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kopt.estimate.arithmetic import Lanes
from kopt.estimate.full_size.accesses import PROGRAMS, Access, Accesses, Threads, choose_threads
from kopt.estimate.full_size.execute import STEP_LIMIT, Executor
from kopt.estimate.instructions import PtxProgram
from kopt.estimate.parameters import descriptors, scalar_values
from kopt.model.build import Launch

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
FEW_PROGRAMS, MANY_STEPS = 256, 250_000
"""Programs to follow, and instructions to execute, where there are too many instructions for all programs."""


@dataclass
class Visits:
    """Visits of the walk to one access that differ by a distance alone, which all threads have in common."""

    first: Access
    distances: Lanes
    """Distance of each from the first one."""


def followed(
    program: PtxProgram, launch: Launch, contents: Mapping[int, int], most: int = PROGRAMS
) -> tuple[Accesses, Threads]:
    """Return what a launch accesses, and the threads that were followed.

    Args:
        program: the kernel's code.
        launch: the launch.
        contents: the one value that fills the memory behind a parameter, where it is known.
        most: programs to follow, at most.
    """
    scalars, described = scalar_values(program, launch), descriptors(program, launch)
    block, cluster = launch.num_warps * 32, max(launch.num_ctas, 1)

    def follow(threads: Threads, steps: int) -> Accesses:
        return Executor(program, threads, scalars, contents, described, steps).run()

    steps = STEP_LIMIT
    threads = choose_threads(launch.grid, block, cluster, most=most)
    accesses = follow(threads, steps)
    if not accesses.complete and accesses.steps_to_end <= MANY_STEPS:
        most, steps = FEW_PROGRAMS, MANY_STEPS
        threads = choose_threads(launch.grid, block, cluster, most=most)
        accesses = follow(threads, steps)
    for _ in range(MORE_ROUNDS if accesses.complete else 0):
        some = _some_visits(accesses.visits)
        lanes = MOST_WORK // max(accesses.steps, 1) - len(threads.tid)
        wholes, chosen = _more_wholes(some, threads, lanes), _more_threads(some, threads, lanes)
        if not wholes and not chosen:
            break
        wholes, chosen = [*threads.wholes, *wholes], [*threads.chosen, *chosen]
        threads = choose_threads(launch.grid, block, cluster, most=most, wholes=wholes, chosen=chosen)
        accesses = follow(threads, steps)
    return accesses, threads


def alike(visits: Iterable[Access]) -> list[Visits]:
    """Put the visits together that differ by a distance alone."""
    groups: dict[object, list[Access]] = defaultdict(list)
    for number, visit in enumerate(visits):
        groups[(visit.at, id(visit.base), id(visit.active)) if visit.step is None else number].append(visit)
    return [
        Visits(group[0], np.array([visit.shift - group[0].shift for visit in group], dtype=np.int64))
        for group in groups.values()
    ]


def _some_visits(visits: Sequence[Access]) -> list[Visits]:
    """Return some visits of each instruction, spread over its visits; of those that are alike the first."""
    by_place: dict[int, list[Visits]] = defaultdict(list)
    for group in alike(visits):
        by_place[group.first.at].append(group)
    most = max(SOME_VISITS // max(len(by_place), 1), 3)
    return [group for of in by_place.values() for group in of[:: len(of) // most + 1]]


def _more_wholes(some: Sequence[Visits], threads: Threads, most: int) -> list[int]:
    """Return the positions of further programs to follow with all threads: those whose tiles the others lack.

    Of programs that look alike by their few threads two are chosen: they may show that they are not.

    Args:
        some: visits.
        threads: the threads that were followed.
        most: further threads to follow, at most.
    """
    chosen: list[int] = []
    visits, weights = [visits.first for visits in some], [len(visits.distances) for visits in some]
    active = [threads.representatives(visit.active) for visit in visits]
    lacking = [
        makes & (like_wholes(visit, threads, threads.wholes) < 0) for visit, makes in zip(visits, active, strict=True)
    ]
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
        similar = np.zeros(threads.programs, dtype=bool)
        for missing, visit in zip(lacking, visits, strict=True):
            if missing[first]:
                like = missing & (like_wholes(visit, threads, [first]) >= 0)
                similar |= like
                missing &= ~like
        chosen += dict.fromkeys((first, int(similar.nonzero()[0][-1])))
    return chosen


def _more_threads(some: Sequence[Visits], threads: Threads, most: int) -> list[int]:
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
        for visit in (visits.first for visits in some):
            active, address = threads.all(visit.active), threads.all(visit.address)
            shape = np.where(active, address - address[:, :1] + 1, 0)  # 0 for a thread that does not make the access
            seen = shape[:, columns]
            useful += (active & ~active[:, columns].any(axis=1, keepdims=True)).sum(axis=0)
            for other in range(1, len(shape)):
                same = (seen[other] == seen[:other]).all(axis=1)
                useful += (shape[:other][same] != shape[other]).sum(axis=0)
        if not useful.any():
            break
        chosen.append(int(useful.argmax()))
        columns.append(chosen[-1])
    return chosen


def like_wholes(visit: Access, threads: Threads, wholes: Sequence[int]) -> npt.NDArray[np.int64]:
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
