"""Make input sheets, which pass draws to contestants and the timer, and the slots in which contestants get them.

A contestant reads draws, and hands results over, as a `DrawInMemory`.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple  # inputs of a problem may have any type

import torch
from torch.utils._pytree import tree_map_only

from kopt.device.cuda.sharing import ipc
from kopt.device.cuda.sharing.ipc import Shared
from kopt.device.expected.outputs import may_change
from kopt.model.problem import Workload
from kopt.sandbox.service import CHECK_S, PREPARE_S, ServiceProcess


class ArgumentName(str):
    """Name of a tensor among the arguments, in the place of the tensor."""

    __slots__ = ()


STAGED_BYTES = 1 << 20
"""Largest size of a draw of which a contestant keeps copies, bytes."""


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


@dataclass
class DrawInMemory:
    """A draw whose arguments and results lie in the referee's memory, and, where they are small, in copies too.

    Opening the referee's memory, and waiting for the device, take long while neighbours keep the device busy.
    """

    sheet: Sheet
    copies: dict[str, torch.Tensor] | None = None
    """Copies of the arguments, made before the first draw is run; None where they are large."""
    results: list[tuple[Shared, torch.Tensor]] = field(default_factory=list)
    """Results that have not been copied to the referee's memory."""

    @contextmanager
    def arguments(self) -> Iterator[dict[str, torch.Tensor]]:
        """Read the arguments, by name, inside the block of code."""
        if self.copies is not None:
            yield self.copies
            return
        with ipc.all_opened(self.sheet.arguments) as opened:
            yield opened

    def keep(self, tensors: Sequence[torch.Tensor]) -> None:
        """Copy the tensors of a result; a result with other tensors breaks the contract, and is not copied."""
        if len(tensors) != len(self.sheet.outputs):
            return
        pairs = [
            (shared, tensor)
            for shared, tensor in zip(self.sheet.outputs, tensors, strict=True)
            if tuple(tensor.shape) == shared.shape and tensor.is_cuda
        ]
        if self.copies is None:
            ipc.copy_into(pairs)
        else:
            self.results = [(shared, tensor.clone()) for shared, tensor in pairs]


def in_memory(sheets: Sequence[Sheet]) -> list[DrawInMemory]:
    """Copy the arguments of the small draws, all at once."""
    small = {at: sheet.arguments for at, sheet in enumerate(sheets) if _is_small(sheet)}
    copies = dict(zip(small, ipc.copies_of(list(small.values())), strict=True))
    return [DrawInMemory(sheet, copies.get(at)) for at, sheet in enumerate(sheets)]


def _is_small(sheet: Sheet) -> bool:
    return sum(shared.bytes for shared in (*sheet.arguments.values(), *sheet.outputs)) <= STAGED_BYTES


def hand_over(draws: Sequence[DrawInMemory]) -> None:
    """Copy the results that wait to the referee's memory, all at once.

    Raises:
        DeviceError: the memory cannot be opened, or a kernel has broken the device.
    """
    ipc.copy_into([result for draw in draws for result in draw.results])


class Assignment(NamedTuple):
    """Message to a contestant: its input sheets and its share of memory."""

    sheets: tuple[Sheet, ...]
    """The draws, with the outputs of the contestant's slot."""
    memory_share: float
    """Share of the device's memory that torch may take, 0 to 1."""


class Slot(NamedTuple):
    """The place of one contestant: its number, and the draws with outputs of their own."""

    number: int
    sheets: Sequence[Sheet]


@dataclass
class Slots:
    """Assign the referee's slots to contestants.

    The referee makes the slots when the first contestants have their CUDA contexts and ask: only then it is known how
    much memory is left.
    """

    referee: ServiceProcess
    most: int
    """Largest number of slots."""
    _free: list[Slot] = field(default_factory=list)
    _held: dict[int, Slot] = field(default_factory=dict)
    _memory_share: float = 0.0

    @property
    def count(self) -> int:
        """Number of slots that the referee has made."""
        return len(self._free) + len(self._held)

    def message_for(self, contestant: int) -> bytes | None:
        """Assign a slot to a contestant and return its `Assignment`, pickled; None when no slot is free."""
        if not self.count:
            made = self.referee.call("slots", self.most, seconds=PREPARE_S)
            self._free = [Slot(number, sheets) for number, sheets in enumerate(made)]
            self._memory_share = self.referee.call("memory_share", self.count, seconds=CHECK_S)
        if not self._free:
            return None
        self._held[contestant] = self._free.pop(0)
        return pickle.dumps(Assignment(tuple(self._held[contestant].sheets), self._memory_share))

    def slot_of(self, contestant: int) -> Slot | None:
        """Return a contestant's slot; None when the contestant has no slot."""
        return self._held.get(contestant)

    def release(self, contestant: int) -> None:
        """Take back the slot, if any, of a contestant that has ended and whose outputs have been compared."""
        if contestant in self._held:
            slot = self._held.pop(contestant)
            self.referee.call("fill_with_nan", slot.number, seconds=CHECK_S)
            self._free.append(slot)
