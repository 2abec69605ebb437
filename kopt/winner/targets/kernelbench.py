"""Write a solution of KernelBench: a module with `ModelNew`."""

from __future__ import annotations

from kopt.winner.target import Target, guards, kernel_and_reference, model_class
from kopt.winner.winner import Winner


def write(winner: Winner) -> str:
    """Return the text of a Python module with the class `ModelNew`."""
    parts = (kernel_and_reference(winner, checks_itself=False), guards(winner), model_class(winner, "ModelNew"))
    return "\n\n\n".join(parts) + "\n"


TARGET = Target(".py", "a KernelBench solution, ModelNew", write)
