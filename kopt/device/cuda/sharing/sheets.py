"""Make input sheets, which pass draws to contestants and the timer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple  # inputs of a problem may have any type

import torch
from torch.utils._pytree import tree_map_only

from kopt.device.cuda.sharing.ipc import Shared
from kopt.device.expected.outputs import may_change
from kopt.model.problem import Workload


class ArgumentName(str):
    """Name of a tensor among the arguments, in the place of the tensor."""

    __slots__ = ()


@dataclass(frozen=True)
class Sheet:
    """One draw as another process gets it: tensors in shared memory, and plain values."""

    workload: Workload
    inputs: tuple[Any, ...]
    """The inputs, with an `ArgumentName` for each tensor."""
    arguments: dict[str, Shared]
    """All tensors among the arguments by name: those of the inputs, parameters, buffers (`tensor_arguments`)."""
    outputs: tuple[Shared, ...] = ()
    """Memory that the tensors of the result are copied to: those of the output, then the changed arguments."""
    changed: tuple[str, ...] = ()
    """Names of the arguments that the reference changes."""

    def with_tensors(self, tensors: Mapping[str, torch.Tensor]) -> tuple[Any, ...]:
        """Return the inputs with tensors in the place of their names.

        Args:
            tensors: one for each argument, by name.
        """
        return tuple(tree_map_only(ArgumentName, lambda name: tensors[name], value) for value in self.inputs)


def put_state(model: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Let a model's parameters and buffers lie in the memory of the tensors of these names."""
    for name, parameter in model.named_parameters():
        parameter.data = tensors[f"parameter {name}"]
    for name, buffer in model.named_buffers():
        buffer.data = tensors[f"buffer {name}"]


def forbidden_argument(sheet: Sheet, changed: Sequence[int]) -> str:
    """Name the first changed argument tensor that the reference does not change; empty when all may change.

    Args:
        sheet: sheet of the draw.
        changed: positions of the changed tensors; a position without an argument is called `?`.
    """
    names = list(sheet.arguments)
    changed_names = (names[place] if 0 <= place < len(names) else "?" for place in changed)
    return next((name for name in changed_names if not may_change(name, sheet.changed)), "")


class Assignment(NamedTuple):
    """Message to a contestant: its input sheets and its share of memory."""

    sheets: tuple[Sheet, ...]
    """The draws, with the outputs of the contestant's slot."""
    memory_share: float
    """Share of the device's memory that torch may take, 0 to 1."""
