"""Write a solution of SOL-ExecBench: one JSON object with the source of a `run` function."""

from __future__ import annotations

from kopt.winner.solution import solution
from kopt.winner.target import Target
from kopt.winner.winner import Winner

LISTED = "B200"
"""The only GPU that the benchmark knows by name."""


def write(winner: Winner) -> str:
    """Return the JSON of a solution, which returns its outputs.

    Raises:
        ProblemError: see `kopt.winner.solution.solution`.
    """
    hardware = LISTED if LISTED in winner.device else "LOCAL"
    return solution(winner, {"languages": ["triton"], "target_hardware": [hardware]})


TARGET = Target(".json", "a solution of SOL-ExecBench, as JSON", write, guarded=False)
