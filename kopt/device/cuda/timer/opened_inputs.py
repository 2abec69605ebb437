"""Open an input set in the referee's memory, undo what calls change in it, and hand their results over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any  # inputs of a problem may have any type

import torch

from kopt.device.cuda.sharing import ipc
from kopt.device.cuda.sharing.sheets import Sheet
from kopt.device.cuda.storage import flat_bytes
from kopt.device.expected.outputs import may_change
from kopt.device.reference.layout import dtype_name


@dataclass
class OpenedInputs:
    """The opened arguments of one draw."""

    sheet: Sheet
    arguments: dict[str, torch.Tensor]
    """All tensors among the arguments, by name."""
    inputs: tuple[Any, ...]
    pristine: dict[str, torch.Tensor] = field(default_factory=dict)
    """Copies of the storages of arguments that a call may change, by name."""

    def keep(self) -> None:
        """Copy the arguments that a call may change, as they are now."""
        kept = {name: one for name, one in self.arguments.items() if may_change(name, self.sheet.changed)}
        self.pristine = {name: flat_bytes(tensor).clone() for name, tensor in kept.items()}

    def restore(self) -> None:
        """Undo what a call changed in the arguments that it may change."""
        for name, copy in self.pristine.items():
            flat_bytes(self.arguments[name]).copy_(copy)

    @property
    def storages(self) -> list[torch.Tensor]:
        """Storages of the arguments, as flat bytes."""
        return [flat_bytes(tensor) for tensor in self.arguments.values()]

    @property
    def changed(self) -> list[torch.Tensor]:
        """Arguments that the reference changes, which are part of the result."""
        return [self.arguments[name] for name in self.sheet.changed]

    def own(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return tensors that no later call or set of inputs changes: those that lie in an argument are copied."""
        here = {tensor.untyped_storage().data_ptr() for tensor in self.arguments.values()}
        return [tensor.clone() if tensor.untyped_storage().data_ptr() in here else tensor for tensor in tensors]

    def hand_over(self, tensors: Sequence[torch.Tensor]) -> bool:
        """Copy a result into the referee's memory; False where it has other tensors, and nothing is copied."""
        outputs = self.sheet.outputs
        pairs = list(zip(tensors, outputs, strict=False))
        if len(tensors) != len(outputs) or any(
            tuple(tensor.shape) != shared.shape or dtype_name(tensor.dtype) != shared.dtype for tensor, shared in pairs
        ):
            return False
        ipc.copy_into([(shared, tensor) for tensor, shared in pairs])
        return True


def open_inputs(sheet: Sheet) -> OpenedInputs:
    """Open the arguments of a sheet, and keep copies of those that a call may change."""
    arguments = {name: ipc.open_shared(shared).tensor for name, shared in sheet.arguments.items()}
    input_set = OpenedInputs(sheet, arguments, sheet.with_tensors(arguments))
    input_set.keep()
    return input_set
