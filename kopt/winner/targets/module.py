"""Write a PyTorch module that takes the place of the reference's: kernel where it was verified, PyTorch elsewhere."""

from __future__ import annotations

from kopt.winner.standalone import self_check
from kopt.winner.target import Target, guards, kernel_and_reference, model_class
from kopt.winner.winner import Winner


def write(winner: Winner) -> str:
    """Return the text of a Python module with the class `KernelModel`."""
    head = kernel_and_reference(winner, checks_itself=True)
    parts = (head, guards(winner), model_class(winner, "KernelModel"), self_check(winner))
    return "\n\n\n".join(parts) + "\n"


TARGET = Target(".py", "a PyTorch module, KernelModel, in place of the reference's Model", write)
