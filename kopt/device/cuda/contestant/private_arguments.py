"""Keep the arguments of a workload in memory of the contestant's own, at the same addresses for every draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any  # inputs of a problem may have any type

import torch

from kopt.device.cuda.contestant.draw_in_memory import DrawInMemory
from kopt.device.cuda.sharing import ipc
from kopt.device.cuda.sharing.sheets import Sheet, put_state
from kopt.device.reference import setup
from kopt.device.reference.layout import assign, differing_bits
from kopt.model.problem import Problem


@dataclass
class PrivateArguments:
    """The arguments of one workload in memory of the contestant's own."""

    reference: Any
    model: torch.nn.Module
    inputs: tuple[Any, ...]
    tensors: dict[str, torch.Tensor]
    """All tensors among the arguments, by name."""

    def load(self, draw: DrawInMemory) -> None:
        """Take the values of a draw of the workload."""
        self.inputs = draw.sheet.with_tensors(self.tensors)
        with draw.arguments() as given:
            for name, tensor in given.items():
                assign(self.tensors[name], tensor)

    def changed(self, draw: DrawInMemory) -> tuple[int, ...]:
        """Return the positions of the tensors that no longer have the values of a draw."""
        with draw.arguments() as given:
            differ = [differing_bits(self.tensors[name], tensor) for name, tensor in given.items()]
            flags = torch.stack(differ).tolist() if differ else []
        return tuple(place for place, changed in enumerate(flags) if changed)


def private_arguments(problem: Problem, sheet: Sheet) -> PrivateArguments:
    """Set a workload up: its reference and its model, whose state lies among the arguments."""
    with torch.device("cuda"):
        reference = setup.load_reference(problem, sheet.workload)
        model = setup.make_model(reference, problem)
    tensors = ipc.private_all(sheet.arguments)
    put_state(model, tensors)
    return PrivateArguments(reference, model, sheet.with_tensors(tensors), tensors)
