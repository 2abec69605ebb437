"""Plan the input sets of a batch: those that calls are timed on, and those that replays are verified on."""

from __future__ import annotations

from collections.abc import Mapping

from kopt.device.draws.distributions import FULL_SIZE, TIMED, Draw
from kopt.device.draws.seeds import derive_seed
from kopt.model.problem import Problem

SET_SHARE = 0.2
"""Share of the device's memory that the timed input sets of one workload may take."""
SETS_SHARE = 0.6
"""Share of the device's memory that all input sets of one workload may take."""
MOST_SETS = 3
"""Largest number of timed input sets of one workload."""


def timing_draws(problem: Problem, bytes_by_workload: Mapping[str, int], memory_bytes: int, seed: str) -> list[Draw]:
    """Plan the input sets of a batch: for each main workload sets to time on, then sets of other distributions.

    Args:
        problem: to time on.
        bytes_by_workload: size of one input set, with its output and the copies that the timer keeps.
        memory_bytes: memory of the device, which limits the number of sets.
        seed: all draws follow from it.
    """
    return [
        Draw(workload, distribution, derive_seed(seed, workload.name, place), kind="timed")
        for workload in problem.main
        for place, distribution in enumerate(_distributions(bytes_by_workload[workload.name], memory_bytes))
    ]


def _distributions(set_bytes: int, memory_bytes: int) -> list[str]:
    """List the distributions of a workload's input sets: the timed sets, then those that are only verified."""
    timed = max(2, min(MOST_SETS, int(SET_SHARE * memory_bytes / max(set_bytes, 1))))
    room = int(SETS_SHARE * memory_bytes / max(set_bytes, 1)) - timed
    return [TIMED] * timed + list(FULL_SIZE[: max(0, room)])
