"""Make the inputs of a draw in memory that other processes may open, and write them there again."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from kopt.device.cuda.sharing import ipc
from kopt.device.cuda.sharing.ipc import Owned
from kopt.device.cuda.sharing.sheets import ArgumentName, Sheet, put_state
from kopt.device.draws.distributions import Case, Draw, make_case
from kopt.device.reference.contract import tensor_arguments
from kopt.device.reference.given import input_names
from kopt.device.reference.layout import assign
from kopt.device.reference.tree import with_tensors_replaced
from kopt.model.problem import Problem


@dataclass
class OwnedInputs:
    """The inputs of one draw, in the referee's memory."""

    draw: Draw
    case: Case
    """The draw's model and inputs, on shared memory."""
    owned: list[Owned]
    """Shared memory of the argument tensors."""
    sheet: Sheet
    checksums: tuple[int, ...] = ()
    """Expected checksums of the argument tensors."""

    @property
    def bytes(self) -> int:
        """Size of the inputs and the state."""
        return sum(memory.shared.bytes for memory in self.owned)

    def refill(self, problem: Problem) -> None:
        """Write the values of the draw into the memory."""
        with torch.device("cuda"):
            fresh = make_case(problem, self.draw)
        for owned, tensor in zip(self.owned, tensor_arguments(fresh.model, fresh.inputs).values(), strict=True):
            assign(owned.tensor, tensor)
        torch.cuda.synchronize()


def own_inputs(problem: Problem, draw: Draw) -> OwnedInputs:
    """Make the inputs of a draw in shared memory."""
    with torch.device("cuda"):
        case = make_case(problem, draw)
    owned = ipc.share_all(tensor_arguments(case.model, case.inputs))
    tensors = {name: memory.tensor for name, memory in owned.items()}
    shared = {name: memory.shared for name, memory in owned.items()}
    named = zip(input_names(case.model, len(case.inputs)), case.inputs, strict=True)
    inputs = tuple(
        with_tensors_replaced(value, f"input {name}", lambda name, _: ArgumentName(name)) for name, value in named
    )
    sheet = Sheet(draw.workload, inputs, shared)
    put_state(case.model, tensors)
    case = replace(case, inputs=sheet.with_tensors(tensors))
    torch.cuda.empty_cache()
    return OwnedInputs(draw, case, list(owned.values()), sheet)
