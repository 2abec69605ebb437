"""Make input sheets, which pass draws to contestants and the timer, and the slots in which contestants get them."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple  # inputs of a problem may have any type

import torch

from kopt.device.cuda.ipc import Shared
from kopt.device.reference import setup
from kopt.device.reference.facts import input_names
from kopt.model.problem import Problem, Workload
from kopt.sandbox.service import CHECK_S, PREPARE_S, ServiceProcess


@dataclass(frozen=True)
class Sheet:
    """One draw as another process gets it: tensors in shared memory, and plain values."""

    workload: Workload
    inputs: tuple[Any, ...]
    """`Shared` for a tensor."""
    state: tuple[Shared, ...]
    """The model's parameters, then its buffers, in order of name."""
    output: Shared
    """Memory that the output is copied to."""


def argument_names(problem: Problem, sheet: Sheet) -> list[str]:
    """Name the argument tensors of a draw, in order: input tensors, parameters, buffers."""
    with torch.device("meta"):
        reference = setup.load_reference(problem, sheet.workload)
        model = setup.make_model(reference, problem)
    named_inputs = zip(input_names(model, len(sheet.inputs)), sheet.inputs, strict=True)
    names = [name for name, value in named_inputs if isinstance(value, Shared)]
    names += sorted(name for name, _ in model.named_parameters())
    return names + sorted(name for name, _ in model.named_buffers())


def forbidden_argument(problem: Problem, sheet: Sheet, changed: Sequence[int]) -> str:
    """Name the first changed argument tensor that the problem does not allow to change; empty when all may change.

    Args:
        problem: the problem, which names the arguments that may change.
        sheet: sheet of the draw.
        changed: positions of the changed tensors; a position without an argument is called `?`.
    """
    names = argument_names(problem, sheet) if changed else []
    changed_names = (names[place] if 0 <= place < len(names) else "?" for place in changed)
    return next((name for name in changed_names if name not in problem.mutates), "")


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
