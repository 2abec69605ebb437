"""The referee: the one process that knows seeds, inputs and right answers.

It never imports a candidate.  Inputs lie in memory that contestants may open; where the outputs of a contestant are to
be copied to belongs to the referee too, starts as NaN, and is read only after the contestant's process has ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch

from kopt.device.cuda import ipc
from kopt.device.cuda.ipc import Owned, Shared
from kopt.device.reference.calibration import calibrate
from kopt.device.reference.compare import Comparison, Contract, eager_output, output_contract
from kopt.device.reference.distributions import Case, Draw, make_case, plan
from kopt.device.reference.expected_outputs import ExpectedOutputs
from kopt.errors import ProblemError
from kopt.model.problem import Problem, Workload

ANSWER_BYTES = 10 << 30
"""Room for making answers."""
CONTEXT_BYTES = 100 << 20
"""What a contestant's context grows by while it works."""
PRIVATE = 1.25
"""How much more than its arguments and output a contestant needs for them."""
CHECKED_WORDS = 1 << 22
"""Words of a checksum that are multiplied at a time; they and their factors fit into an L2 cache."""
USABLE = 0.95
"""Share of the free memory that is given away."""


@dataclass(frozen=True)
class Sheet:
    """One draw as a contestant gets it: shared tensors, and plain values as they are."""

    workload: Workload
    inputs: tuple[Any, ...]
    """`Shared` for a tensor."""
    state: tuple[Shared, ...]
    """The model's parameters, then its buffers, in order of name."""
    output: Shared
    """Where the output goes."""


@dataclass
class _Desk:
    """One draw on the referee's side."""

    draw: Draw
    case: Case
    owned: list[Owned]
    sheet: Sheet
    digest: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Size of the inputs and the state."""
        return sum(one.shared.bytes for one in self.owned)


class Referee:
    """Lives in its own process; see the module."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._answers = ExpectedOutputs(problem)
        self._desks: list[_Desk] = []
        self._outputs: dict[int, list[Owned]] = {}
        self._contracts: dict[str, Contract] = {}
        self._bytes: dict[str, int] = {}
        torch.cuda.init()

    def warm_up(self) -> None:
        """Do once what takes seconds the first time: small draws of every kind, with their answers."""
        with torch.device("cuda"):
            for draw in plan(self._problem.small[:1], "warm up"):
                case = make_case(self._problem, draw)
                ExpectedOutputs(self._problem).judge(case, draw, eager_output(case))
                for tensor in _tensors(case):
                    _checksum(tensor)
        torch.cuda.synchronize()

    def prove(self) -> None:
        """Prove that the problem's checks can tell right from wrong.

        Raises:
            ProblemError: they cannot; the problem cannot be judged.
        """
        with torch.device("cuda"):
            refusal = calibrate(self._problem, self._problem.small).refusal
        if refusal:
            raise ProblemError(refusal)

    def make(self, draws: Sequence[Draw]) -> None:
        """Make the draws' inputs, in place of the last ones."""
        self.clear()
        self._desks = [self._desk(draw) for draw in draws]

    def slots(self, most: int) -> list[list[Sheet]]:
        """For each slot the sheets of all draws, with outputs of its own.

        There are as many slots as the device now has memory for, at least one and at most `most`.
        """
        slots = max(1, min(most, self._room()))
        self._outputs = {slot: [self._new_output(desk) for desk in self._desks] for slot in range(slots)}
        return [
            [replace(desk.sheet, output=out.shared) for desk, out in zip(self._desks, outs, strict=True)]
            for outs in self._outputs.values()
        ]

    def contract(self, at: int) -> Contract:
        """What the output of a draw must be."""
        return self._contracts[self._desks[at].draw.workload.name]

    def size(self, workload: Workload) -> int:
        """Bytes of a workload's inputs, state and output, of which a draw was made."""
        return self._bytes[workload.name]

    def judge(self, slot: int, at: int) -> Comparison:
        """Compare a slot's output of one draw with the right answer."""
        desk = self._desks[at]
        return self._answers.judge(desk.case, desk.draw, self._outputs[slot][at].tensor)

    def poison(self, slot: int) -> None:
        """Make a slot's outputs NaN again."""
        for owned in self._outputs[slot]:
            _poison(owned.tensor)
        torch.cuda.synchronize()

    def mutated(self, at: int) -> tuple[int, ...]:
        """Positions of a draw's argument tensors that are not what they were; if there are any all are made again."""
        desk = self._desks[at]
        digests = _digests(desk.owned)
        changed = tuple(place for place, one in enumerate(digests) if one != desk.digest[place])
        if changed:
            self._refill(desk)
        return changed

    def restore(self) -> bool:
        """Make every draw's inputs again that are not what they were; whether there were any."""
        changed = [self.mutated(at) for at in range(len(self._desks))]
        return any(changed)

    def renew(self, draws: Mapping[int, Draw]) -> None:
        """Put other draws of the same workloads where some draws' inputs are."""
        for at, draw in draws.items():
            desk = self._desks[at]
            desk.draw = draw
            self._refill(desk)
            desk.digest = _digests(desk.owned)

    def memory_share(self, slots: int) -> float:
        """Share of the device's memory that a contestant may take when there are so many at a time, 0 to 1."""
        free, whole = _memory()
        return max(0.01, (free - ANSWER_BYTES) / whole / slots)

    def health(self) -> bool:
        """Whether the device still computes."""
        ones = torch.ones(1024, device="cuda")
        return float(ones.sum()) == 1024.0

    def clear(self) -> None:
        """Free everything."""
        torch.cuda.synchronize()
        for owned in [one for desk in self._desks for one in desk.owned]:
            owned.free()
        for owned in [one for outs in self._outputs.values() for one in outs]:
            owned.free()
        self._desks, self._outputs = [], {}
        self._answers = ExpectedOutputs(self._problem)
        torch.cuda.empty_cache()

    def _desk(self, draw: Draw) -> _Desk:
        with torch.device("cuda"):
            case = make_case(self._problem, draw)
        owned = [ipc.share(tensor) for tensor in _tensors(case)]
        handles = iter(owned)
        inputs = tuple(next(handles) if isinstance(value, torch.Tensor) else value for value in case.inputs)
        state = [next(handles) for _ in _state(case.model)]
        for tensor, one in zip(_state(case.model), state, strict=True):
            tensor.data = one.tensor
        case = replace(case, inputs=tuple(v.tensor if isinstance(v, Owned) else v for v in inputs))
        torch.cuda.empty_cache()
        contract = self._contracts.setdefault(draw.workload.name, output_contract(case))
        torch.cuda.empty_cache()
        sheet = Sheet(
            workload=draw.workload,
            inputs=tuple(v.shared if isinstance(v, Owned) else v for v in inputs),
            state=tuple(one.shared for one in state),
            output=Shared(b"", 0, (), (), "uint8"),
        )
        desk = _Desk(draw, case, owned, sheet, _digests(owned))
        self._bytes[draw.workload.name] = desk.bytes + _bytes(contract)
        return desk

    def _refill(self, desk: _Desk) -> None:
        with torch.device("cuda"):
            fresh = _tensors(make_case(self._problem, desk.draw))
        for owned, tensor in zip(desk.owned, fresh, strict=True):
            owned.tensor.copy_(tensor)
        torch.cuda.synchronize()

    def _room(self) -> int:
        """How many contestants, which have their contexts, the device's memory has room for."""
        free, _ = _memory()
        workloads = {desk.draw.workload.name for desk in self._desks}
        outputs = {name: _bytes(self._contracts[name]) for name in workloads}
        written = sum(outputs[desk.draw.workload.name] for desk in self._desks)
        private = sum(int(PRIVATE * self._bytes[name]) + outputs[name] for name in workloads)
        return int((USABLE * free - ANSWER_BYTES) // (written + private + CONTEXT_BYTES))

    def _new_output(self, desk: _Desk) -> Owned:
        wanted = self._contracts[desk.draw.workload.name]
        owned = ipc.share(torch.empty(wanted.shape, dtype=wanted.dtype, device="cuda"))
        _poison(owned.tensor)
        torch.cuda.empty_cache()
        return owned


def _memory() -> tuple[int, int]:
    """Free and whole memory of the device, bytes."""
    torch.cuda.empty_cache()
    free, whole = torch.cuda.mem_get_info()
    return int(free), int(whole)


def _bytes(output: Contract) -> int:
    return prod(output.shape) * output.dtype.itemsize


def _tensors(case: Case) -> list[torch.Tensor]:
    return [value for value in case.inputs if isinstance(value, torch.Tensor)] + _state(case.model)


def _state(model: torch.nn.Module) -> list[torch.Tensor]:
    """Parameters, then buffers, in order of name."""
    return [value for _, value in sorted(model.named_parameters())] + [
        value for _, value in sorted(model.named_buffers())
    ]


def _poison(tensor: torch.Tensor) -> None:
    tensor.view(-1).view(torch.uint8).fill_(0xFF) if tensor.numel() else tensor


def _digests(owned: Sequence[Owned]) -> tuple[int, ...]:
    """A checksum of each tensor, made on the device: its 64-bit words, each times an odd number of its own, summed."""
    return tuple(_checksum(one.tensor) for one in owned)


def _checksum(tensor: torch.Tensor) -> int:
    flat = torch.empty(0, dtype=torch.uint8, device="cuda").set_(tensor.untyped_storage())
    whole = flat[: flat.numel() // 8 * 8].view(torch.int64)
    odd = torch.arange(1, 2 * CHECKED_WORDS, 2, device="cuda")
    total = flat[len(whole) * 8 :].long().sum()
    for start in range(0, len(whole), CHECKED_WORDS):
        words = whole[start : start + CHECKED_WORDS]
        total += (words * odd[: len(words)]).sum() + words.sum() * (2 * start)
    return int(total)
