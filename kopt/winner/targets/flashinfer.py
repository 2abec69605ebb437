"""Write a solution of FlashInfer-Bench: one JSON object with the source of a `run` function."""

from __future__ import annotations

from kopt.winner.solution import solution
from kopt.winner.target import Target
from kopt.winner.winner import Winner


def write(winner: Winner) -> str:
    """Return the JSON of a solution, which returns its outputs.

    Raises:
        ProblemError: see `kopt.winner.solution.solution`.
    """
    return solution(winner, {"language": "triton", "target_hardware": [winner.device]})


TARGET = Target(".json", "a solution of FlashInfer-Bench, as JSON", write, guarded=False)
