"""Run the service of the referee, the only process that knows seeds, inputs and expected outputs.

The referee never imports a candidate.  Inputs lie in shared memory that contestants may open.  The memory for a
contestant's outputs belongs to the referee too: it starts as NaN, and is read only after the contestant has ended.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from math import prod

import torch

from kopt.device.cuda.referee.checksums import Checksums
from kopt.device.cuda.referee.outputs import fill_with_nan, on_host, own_outputs
from kopt.device.cuda.referee.owned_inputs import OwnedInputs, own_inputs
from kopt.device.cuda.sharing.ipc import Owned
from kopt.device.cuda.sharing.sheets import Sheet
from kopt.device.cuda.storage import give_back_spare
from kopt.device.draws.distributions import Draw, make_case, plan
from kopt.device.draws.forms import further_edges
from kopt.device.expected.calibration import calibrate
from kopt.device.expected.compare import Comparison
from kopt.device.expected.expected_by_rows import ExpectedOutputs, kept_size
from kopt.device.expected.outputs import Contract, ResultContract, result_contract, run_reference
from kopt.device.reference.contract import tensor_arguments
from kopt.errors import ProblemError
from kopt.model.problem import Problem, Workload

log = logging.getLogger(__name__)

ANSWER_BYTES = 10 << 30
"""Memory reserved for making expected outputs."""
KEPT_SHARE = 0.125
"""Share of the device's memory in which large expected outputs are kept: a convolution in float64 may take seconds."""
CONTEXT_BYTES = 100 << 20
"""Growth of a contestant's CUDA context while it works."""
PRIVATE = 1.25
"""Private memory of a contestant, relative to the size of its arguments and output."""
USABLE = 0.95
"""Share of the free memory that contestants may use."""


class Referee:
    """Make inputs and compare outputs; lives in a process of its own (`kopt.sandbox.service`).

    Input sets are numbered as the draws that `make` and `make_verdict` make; `at` is such a number.
    """

    def __init__(self, problem: Problem) -> None:
        torch.cuda.init()
        self._problem = problem
        self._most_kept = int(KEPT_SHARE * _memory()[1])
        self._answers = ExpectedOutputs(problem, self._most_kept)
        self._input_sets: list[OwnedInputs] = []
        self._outputs: dict[int, list[list[Owned]]] = {}
        """Memory of results by slot: for each draw that of its tensors."""
        self._contracts: dict[str, ResultContract] = {}
        self._bytes: dict[str, int] = {}
        self._checksums = Checksums()

    def warm_up(self) -> None:
        """Make small draws of every distribution, with their expected outputs, which takes seconds the first time."""
        with torch.device("cuda"):
            for draw in plan(self._problem.small[:1], "warm up"):
                case = make_case(self._problem, draw)
                ExpectedOutputs(self._problem).judge(case, draw, run_reference(self._problem, case).tensors)
                self._checksums(tensor_arguments(case.model, case.inputs).values())
        torch.cuda.synchronize()

    def prove(self) -> None:
        """Prove that the problem's checks accept right outputs and reject wrong ones.

        Raises:
            ProblemError: they cannot, so the problem cannot be judged.
        """
        with torch.device("cuda"):
            refusal = calibrate(self._problem, self._problem.small).refusal
        if refusal:
            raise ProblemError(refusal)

    def make_verdict(
        self,
        small: Sequence[Workload],
        timed: Sequence[Workload],
        hidden: Sequence[Workload],
        seed: Sequence[object],
        late: Draw,
    ) -> None:
        """Make the inputs of the draws of a verdict, in place of the last draws'.

        Args:
            small: workloads that share all kinds of draw.
            timed: timed workloads, which get few kinds.
            hidden: hidden workloads, which get few kinds.
            seed: parts of the seed from which the draws follow.
            late: draw that comes after all others.
        """
        with torch.device("cuda"):
            further = further_edges(self._problem)
        self.make((*plan(small, *seed, timed=timed, hidden=hidden, further=further), late))

    def make(self, draws: Sequence[Draw]) -> None:
        """Make the draws' inputs, in place of the last draws'."""
        self.clear()
        self._input_sets = [self._input_set(draw) for draw in draws]

    def slots(self, most: int) -> list[list[Sheet]]:
        """Make slots: for each slot the sheets of all draws, with outputs of its own.

        The number of slots is limited by the memory that the device has now; it is at least one and at most `most`.
        """
        slots = max(1, min(most, self._room()))
        self._outputs = {
            slot: [own_outputs(self.contract(at).tensors) for at in range(len(self._input_sets))]
            for slot in range(slots)
        }
        return [
            [
                replace(inputs.sheet, outputs=tuple(out.shared for out in outs))
                for inputs, outs in zip(self._input_sets, by_draw, strict=True)
            ]
            for by_draw in self._outputs.values()
        ]

    def contract(self, at: int) -> ResultContract:
        """Return the contract of a draw's result."""
        return self._contracts[self._input_sets[at].draw.workload.name]

    def timed_size(self, workload: Workload) -> int:
        """Return the bytes of a workload's inputs, state and output, and of the timer's copies of changed arguments."""
        return self._bytes[workload.name] + _bytes(self._contracts[workload.name].arguments)

    def judge(self, slot: int, at: int) -> Comparison:
        """Compare a slot's result of one draw with the expected result, like `judge_all`."""
        return self.judge_all(slot, [at])[0]

    def judge_all(self, slot: int, places: Sequence[int]) -> list[Comparison]:
        """Compare a slot's results of several draws with the expected results, up to the first wrong one.

        Small tensors come to the host together: each wait for the device takes long while contestants keep it busy.
        Where memory is short, what only saves time is freed first.
        """
        try:
            return self._judged(slot, places)
        except torch.OutOfMemoryError:
            log.warning("too little memory to compare with expected outputs that are kept: they are made anew")
        self.release()
        return self._judged(slot, places)

    def _judged(self, slot: int, places: Sequence[int]) -> list[Comparison]:
        tensors = {at: [owned.tensor for owned in self._outputs[slot][at]] for at in places}
        copies = on_host([tensor for several in tensors.values() for tensor in several])
        comparisons: list[Comparison] = []
        for at, several in tensors.items():
            inputs, values = self._input_sets[at], [copies.get(id(tensor), tensor) for tensor in several]
            comparisons.append(self._answers.judge(inputs.case, inputs.draw, values))
            if not comparisons[-1].right:
                break
        give_back_spare()
        return comparisons

    def release(self) -> None:
        """Free all memory that only saves time, for a process that had too little."""
        self._answers.forget_large()
        torch.cuda.empty_cache()

    def fill_with_nan(self, slot: int) -> None:
        """Fill a slot's outputs with NaN again."""
        for owned in chain.from_iterable(self._outputs[slot]):
            fill_with_nan(owned.tensor)
        torch.cuda.synchronize()

    def mutated(self, at: int) -> tuple[int, ...]:
        """Return the positions of a draw's argument tensors that have changed; if any has, make all again."""
        inputs = self._input_sets[at]
        pairs = zip(self._checksums_of(inputs.owned), inputs.checksums, strict=True)
        changed = tuple(place for place, (now, before) in enumerate(pairs) if now != before)
        if changed:
            self._answers.forget(inputs.draw)
            inputs.refill(self._problem)
        return changed

    def restore(self) -> bool:
        """Make the inputs again of every draw that has changed; return whether any had."""
        changed = [self.mutated(at) for at in range(len(self._input_sets))]
        return any(changed)

    def renew(self, draws: Mapping[int, Draw]) -> None:
        """Replace some draws by other draws of the same workloads, in the same memory.

        Args:
            draws: the new draws, by number of the input set.
        """
        for at, draw in draws.items():
            inputs = self._input_sets[at]
            self._answers.forget(inputs.draw)
            inputs.draw = draw
            inputs.refill(self._problem)
            inputs.checksums = self._checksums_of(inputs.owned)
        give_back_spare()

    def memory_share(self, slots: int) -> float:
        """Return the share of the device's memory, 0 to 1, for each of so many contestants at a time."""
        free, total = _memory()
        return max(0.01, (free - self._reserved()) / total / slots)

    def health(self) -> bool:
        """Return whether the device still computes."""
        ones = torch.ones(1024, device="cuda")
        return float(ones.sum()) == 1024.0

    def clear(self) -> None:
        """Free all inputs and outputs."""
        torch.cuda.synchronize()
        for owned in [memory for inputs in self._input_sets for memory in inputs.owned]:
            owned.free()
        for owned in [memory for by_draw in self._outputs.values() for outs in by_draw for memory in outs]:
            owned.free()
        self._input_sets, self._outputs = [], {}
        self._answers = self._answers.emptied()
        torch.cuda.empty_cache()

    def _input_set(self, draw: Draw) -> OwnedInputs:
        inputs, name = own_inputs(self._problem, draw), draw.workload.name
        if name not in self._contracts:
            self._contracts[name] = result_contract(
                self._problem, inputs.case, run_reference(self._problem, inputs.case)
            )
            torch.cuda.empty_cache()
        inputs.sheet = replace(inputs.sheet, changed=self._contracts[name].changed)
        inputs.checksums = self._checksums_of(inputs.owned)
        self._bytes[name] = inputs.bytes + _bytes(self._contracts[name].tensors)
        return inputs

    def _checksums_of(self, owned: Sequence[Owned]) -> tuple[int, ...]:
        return self._checksums(memory.tensor for memory in owned)

    def _room(self) -> int:
        """Return how many contestants, whose contexts exist already, fit into the device's memory."""
        free, _ = _memory()
        workloads = {inputs.draw.workload.name for inputs in self._input_sets}
        outputs = {name: _bytes(self._contracts[name].tensors) for name in workloads}
        written = sum(outputs[inputs.draw.workload.name] for inputs in self._input_sets)
        private = sum(int(PRIVATE * self._bytes[name]) + outputs[name] for name in workloads)
        return int((USABLE * free - self._reserved()) // (written + private + CONTEXT_BYTES))

    def _reserved(self) -> int:
        """Return the memory that expected outputs may still take, made and kept, bytes."""
        contracts = [self._contracts[inputs.draw.workload.name] for inputs in self._input_sets]
        sizes = [kept_size(prod(one.shape) for one in contract.tensors) for contract in contracts]
        kept = min(self._most_kept, sum(size for size in sizes if size // 2 <= self._most_kept))
        return ANSWER_BYTES + max(kept - self._answers.large_bytes, 0)


def _memory() -> tuple[int, int]:
    """Return the free and the total memory of the device, bytes."""
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    return int(free), int(total)


def _bytes(tensors: Sequence[Contract]) -> int:
    return sum(prod(tensor.shape) * tensor.dtype.itemsize for tensor in tensors)
