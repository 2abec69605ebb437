"""Compute when a launch ends whose programs do unequal work."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kopt.estimate.flow import Amount, mean

MOST_KINDS = 32
"""Kinds of programs whose time is computed; beyond, similar ones are put together."""
MOST_DEALT = 16_384
"""Programs that are given to multiprocessors one by one; with more, the longest one's half follows the mean's end."""


class Kind(NamedTuple):
    """Programs that do the same work."""

    counts: dict[int, float]
    """Times that a thread runs an instruction, by the instruction's index; those that do not run are left out."""
    programs: npt.NDArray[np.int64]
    """Positions of the programs among all."""


def alike(each: Mapping[int, Amount], programs: int) -> Iterator[Kind]:
    """Yield kinds of programs that run each instruction equally often; of more than `MOST_KINDS`, about equally often.

    Args:
        each: times that each program runs an instruction, by the instruction's index.
        programs: number of programs.
    """
    varied = [count for count in each.values() if isinstance(count, np.ndarray)]
    if not varied:
        yield Kind({at: float(count) for at, count in each.items()}, np.arange(programs))
        return
    table = np.stack(varied, axis=1)
    by_counts: dict[bytes, list[int]] = defaultdict(list)
    for program, counts_of_program in enumerate(table):
        by_counts[counts_of_program.tobytes()].append(program)
    groups = [np.array(group) for group in by_counts.values()]
    if len(groups) > MOST_KINDS:
        groups = np.array_split(np.argsort(table.sum(axis=1), kind="stable"), MOST_KINDS)
    for group in groups:
        counts = {at: mean(count[group] if isinstance(count, np.ndarray) else count) for at, count in each.items()}
        yield Kind({at: count for at, count in counts.items() if count > 0}, group)


def finish(seconds: npt.NDArray[np.float64], programs: int, places: int, at_once: int) -> float:
    """Return when the last program of a launch ends.

    The first programs are dealt to the places in turn, each further one goes to the place that is free first.

    Args:
        seconds: time of programs from all over the launch, in the order in which they begin.
        programs: programs of the launch.
        places: programs that run at a time.
        at_once: programs that are given a place when the launch begins.
    """
    if np.all(seconds == seconds[0]):
        return math.ceil(programs / places) * float(seconds[0])
    if programs > MOST_DEALT:
        return float(np.mean(seconds)) * programs / places + float(np.max(seconds)) / 2
    all_seconds = seconds[np.arange(programs) * len(seconds) // programs]
    first = all_seconds[:at_once]
    ends = np.bincount(np.arange(len(first)) % places, weights=first, minlength=places).tolist()
    heapq.heapify(ends)
    for one in all_seconds[at_once:].tolist():
        heapq.heapreplace(ends, ends[0] + one)
    return float(max(ends))
