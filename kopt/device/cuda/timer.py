"""The timer: one process that runs every subject of a batch, interleaved, by one method.

Subjects are recorded programs of candidates and baselines of the reference (eager, compiled).  No candidate's Python
code runs here, so the clock, CUDA events of this process, is out of its reach.

One timed call: fill the memory that it will allocate with NaN, wait for the device, overwrite an L2 cache twice over,
keep the device busy until the host has queued everything, then event, call, event, and wait again.  Input sets rotate,
so values and addresses change.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from kopt.device.cuda import ipc
from kopt.device.cuda.ipc import Shared
from kopt.device.cuda.program import RecordedCall
from kopt.device.cuda.referee import Sheet
from kopt.device.cuda.replay import Replay, Scratch, Storages, flat_bytes
from kopt.device.reference import contract
from kopt.errors import DeviceError
from kopt.model.problem import Problem

FLUSH_BYTES = 256 << 20
"""At least twice any L2 cache of today."""
HEAD_START_CYCLES = 400_000
"""How long the device is kept busy before a timed call, about 0.2 ms, while the host queues the call."""
STEP_CYCLES = 100_000
"""How much longer for every step of a replay."""
BUSY_FILLS = 100
"""How often the cache is overwritten after a pause, about 10 ms."""
WARM_UP = 3
WALL_CALLS = 5
KEPT_BYTES = 8 << 30
"""Outputs of timed calls that are kept for verification."""

MODES = {"compile": "default", "max-autotune": "max-autotune-no-cudagraphs"}
"""Compiled baselines by name; with CUDA graphs every call would first copy its inputs."""


@dataclass
class _Set:
    """The arguments of one workload, opened."""

    sheet: Sheet
    inputs: tuple[Any, ...]
    state: list[torch.Tensor]
    pristine: list[torch.Tensor]
    """Copies of the storages, in their order; none where no call may write to its arguments."""

    def restore(self) -> None:
        """Undo what a call wrote to its arguments."""
        for storage, copy in zip(self.storages, self.pristine, strict=False):
            storage.copy_(copy)

    @property
    def storages(self) -> list[torch.Tensor]:
        tensors = [value for value in self.inputs if isinstance(value, torch.Tensor)] + self.state
        return [flat_bytes(tensor) for tensor in tensors]


class Subject(NamedTuple):
    """What is timed."""

    call: Callable[[int, Storages | None, bool], torch.Tensor]
    """From set, memory and ghost to output."""
    memory: Callable[[], Storages] = dict
    """New memory for one call, full of NaN; our own references allocate theirs themselves."""
    steps: int = 0
    """Steps that a replay queues one by one."""


class Timer:
    """Lives in its own process; see the module."""

    def __init__(self, problem: Problem, driver: Any) -> None:
        import triton

        torch.cuda.init()
        self._problem = problem
        self._driver = driver
        self._sets: dict[str, list[_Set]] = {}
        self._subjects: dict[tuple[str, str], Subject] = {}
        self._kept: dict[tuple[str, str], tuple[int, torch.Tensor]] = {}
        self._not_kept: set[tuple[str, str]] = set()
        """Subject and workload of outputs that there was no room for."""
        self._flush = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device="cuda")
        self._timed_sets: dict[str, int] = {}
        self._random = random.SystemRandom()
        self._scratch = Scratch()
        triton.set_allocator(self._scratch)

    def open(self, sheets: Sequence[Sheet], timed: Mapping[str, int]) -> None:
        """Open the input sets; of each workload so many rotate, the others are for `check` alone."""
        self._timed_sets = dict(timed)
        for sheet in sheets:
            inputs = tuple(ipc.open_shared(v).tensor if isinstance(v, Shared) else v for v in sheet.inputs)
            state = [ipc.open_shared(shared).tensor for shared in sheet.state]
            one = _Set(sheet, inputs, state, [])
            if self._problem.mutates:
                one.pristine.extend(storage.clone() for storage in one.storages)
            self._sets.setdefault(sheet.workload.name, []).append(one)

    def load(self, name: str, programs: Sequence[RecordedCall], binaries: Mapping[str, bytes]) -> None:
        """Make a subject of a candidate's programs."""
        for program in programs:
            replay = Replay(program, binaries, self._driver)
            storages = [one.storages for one in self._sets[program.workload]]
            self._subjects[name, program.workload] = _of_program(replay, storages)

    def baseline(self, name: str) -> None:
        """Make a subject of the reference: `eager`, or a key of `MODES`; compiles and warms up."""
        for workload in self._problem.main:
            model = self._model(self._sets[workload.name][0])
            called: Callable[..., torch.Tensor] = model
            if name in MODES:
                torch._dynamo.reset()
                called = torch.compile(model, mode=MODES[name], dynamic=False)
            subject = _of_model(called, self._sets[workload.name])
            self._subjects[name, workload.name] = subject
            self.warm(workload.name, [name], WARM_UP)

    def check(self, name: str, workload: str, place: int, ghost: bool) -> bool:
        """Run a subject once on new memory full of NaN and hand its output over; False when it is of another shape.

        What it writes to its arguments stays there: the referee looks, and makes them again.
        """
        one = self._sets[workload][place]
        subject = self._subjects[name, workload]
        self._scratch.begin(subject)
        output = subject.call(place, subject.memory(), ghost)
        torch.cuda.synchronize()
        return self._hand_over(output, one.sheet.output)

    def inputs_renewed(self) -> None:
        """The input sets hold other values now; leaves the device as busy as timed calls find it."""
        for one in (one for sets in self._sets.values() for one in sets):
            one.pristine[:] = [storage.clone() for storage in one.storages[: len(one.pristine)]]
        for _ in range(BUSY_FILLS):
            self._flush.zero_()
        torch.cuda.synchronize()

    def warm(self, workload: str, names: Sequence[str], calls: int) -> None:
        """Untimed calls."""
        for turn in range(calls):
            for name in names:
                place = turn % self._timed_sets[workload]
                subject = self._subjects[name, workload]
                self._scratch.begin(subject)
                subject.call(place, None, False)
                self._sets[workload][place].restore()
        torch.cuda.synchronize()

    def race(self, workload: str, names: Sequence[str], launches: int, start: int) -> dict[str, list[float]]:
        """Time `launches` calls of every subject, interleaved; times in ms by name, equal positions side by side.

        One random call's output of each is kept for `kept`.
        """
        sets = self._sets[workload]
        times: dict[str, list[float]] = {name: [] for name in names}
        chosen = {name: self._random.randrange(launches) for name in names}
        for turn in range(launches):
            place = (start + turn) % self._timed_sets[workload]
            for step in range(len(names)):
                name = names[(start + turn + step) % len(names)]
                ms, output = self._timed(self._subjects[name, workload], place)
                times[name].append(ms)
                if turn == chosen[name]:
                    self._keep(name, workload, place, output)
                sets[place].restore()
        return times

    def wall(self, workload: str, name: str) -> float:
        """Median wall time in ms of one call with nothing before it, the host's work included."""
        subject, times = self._subjects[name, workload], []
        for turn in range(WALL_CALLS):
            place = turn % self._timed_sets[workload]
            self._scratch.begin(subject)
            torch.cuda.synchronize()
            start = time.perf_counter()
            subject.call(place, None, False)
            torch.cuda.synchronize()
            times.append(1e3 * (time.perf_counter() - start))
            self._sets[workload][place].restore()
        torch.cuda.synchronize()
        return statistics.median(times)

    def kept(self, name: str, workload: str) -> int:
        """Hand over the output of the timed call that was kept; the set that it belongs to, or -1 when none was timed.

        Where there was no room to keep it, the output of one more such call.
        """
        place, output = self._kept.pop((name, workload), (-1, torch.empty(0)))
        if (name, workload) in self._not_kept:
            self._not_kept.discard((name, workload))
            place = self._random.randrange(self._timed_sets[workload])
            _, output = self._timed(self._subjects[name, workload], place)
        if place < 0:
            return place
        one = self._sets[workload][place]
        if not self._hand_over(output, one.sheet.output):
            raise DeviceError(f"{name}: a timed call returned an output of another shape")
        one.restore()
        return place

    def _timed(self, subject: Subject, place: int) -> tuple[float, torch.Tensor]:
        before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        memory = subject.memory()
        self._scratch.begin(subject)
        torch.cuda.synchronize()
        self._flush.zero_()
        torch.cuda._sleep(HEAD_START_CYCLES + subject.steps * STEP_CYCLES)
        before.record()
        output = subject.call(place, memory, False)
        after.record()
        torch.cuda.synchronize()
        return before.elapsed_time(after), output

    def _keep(self, name: str, workload: str, place: int, output: torch.Tensor) -> None:
        self._kept.pop((name, workload), None)
        self._not_kept.discard((name, workload))
        held = sum(tensor.nbytes for _, tensor in self._kept.values())
        if held + output.nbytes <= KEPT_BYTES:
            # An output may lie in an argument that the call may write to, which is restored.
            self._kept[name, workload] = (place, output.clone() if self._problem.mutates else output)
        else:
            self._not_kept.add((name, workload))

    def _hand_over(self, output: torch.Tensor, shared: Shared) -> bool:
        if tuple(output.shape) != shared.shape or str(output.dtype) != f"torch.{shared.dtype}":
            return False
        opened = ipc.open_shared(shared)
        opened.tensor.copy_(output)
        torch.cuda.synchronize()
        opened.tensor = torch.empty(0)
        opened.close()
        return True

    def _model(self, one: _Set) -> torch.nn.Module:
        reference = contract.load_reference(self._problem, one.sheet.workload)
        with torch.device("cuda"):
            model = contract.make_model(reference, self._problem)
        _put_state(model, one.state)
        return model


def _of_program(replay: Replay, storages: Sequence[Sequence[torch.Tensor]]) -> Subject:
    return Subject(
        lambda place, memory, ghost: replay.run(storages[place], memory=memory, ghost=ghost),
        replay.memory,
        replay.steps,
    )


def _of_model(model: Callable[..., torch.Tensor], sets: Sequence[_Set]) -> Subject:
    def run(place: int, memory: Storages | None, ghost: bool) -> torch.Tensor:
        with torch.no_grad():
            return model(*sets[place].inputs)

    return Subject(run)


def _put_state(model: torch.nn.Module, state: Sequence[torch.Tensor]) -> None:
    named = [*sorted(model.named_parameters()), *sorted(model.named_buffers())]
    for (_, value), tensor in zip(named, state, strict=True):
        value.data = tensor
