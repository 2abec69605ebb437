"""Run the service of the timer, the process that times all subjects of a batch, interleaved, by one method.

Subjects are recorded programs of candidates and baselines of the reference (eager, compiled).  No candidate's Python
code runs here, so no candidate can reach the clock, which is CUDA events of this process.

One timed call: fill the memory that the call will allocate with NaN, synchronise, overwrite an L2 cache twice over,
keep the device busy until the host has queued everything, record an event, call, record an event, synchronise.  Input
sets rotate, so values and addresses change.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple  # inputs of a problem may have any type, Triton has no types

import torch

from kopt.device.baselines.compilations import MODES, Subject
from kopt.device.baselines.compiler import compiling, graphs_found, packed_caches
from kopt.device.cuda.recording.program import RecordedCall
from kopt.device.cuda.recording.replay import Replay, Scratch, Storages
from kopt.device.cuda.sharing import ipc
from kopt.device.cuda.sharing.ipc import Shared
from kopt.device.cuda.sharing.sheets import Sheet, put_state
from kopt.device.cuda.storage import flat_bytes
from kopt.device.expected.outputs import may_change
from kopt.device.reference import setup
from kopt.device.reference.layout import dtype_name
from kopt.device.reference.tree import taken_apart
from kopt.errors import DeviceError
from kopt.model.problem import Problem

FLUSH_BYTES = 256 << 20
"""At least twice the size of any present L2 cache."""
HEAD_START_CYCLES = 400_000
"""Cycles for which the device is kept busy before a timed call, about 0.2 ms, while the host queues the call."""
STEP_CYCLES = 100_000
"""Further cycles for which the device is kept busy for every step of a replay."""
QUEUED_CYCLES = 20_000_000
"""Cycles for which the device is kept busy, about 10 ms, while it is measured how long the host queues a call."""
QUEUED_CALLS = 3
"""Calls of which the slowest tells how long the host queues one."""
QUEUED_ROOM = 2.0
"""Time for which the device is kept busy before a timed call of a baseline, over what the host needs to queue it."""
MOST_CYCLES = 50_000_000
"""Most cycles for which the device is kept busy before a timed call, about 25 ms: a call that waits for the device
cannot be queued."""
CYCLES_PER_SECOND = 2e9
"""Clock of a present GPU, rounded up."""
BUSY_FILLS = 100
"""Times that the cache is overwritten after a pause, which takes about 10 ms."""
WARM_UP = 3
"""Untimed calls of a new baseline."""
WALL_CALLS = 5
"""Calls whose median wall time is reported."""
NAN_BYTE = 0xFF
"""Byte of which NaN is made, the fill of new memory."""
KEPT_BYTES = 8 << 30
"""Size of the outputs of timed calls that may be kept for verification."""


@dataclass
class _OpenedInputs:
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


class Timed(NamedTuple):
    """A callable that is timed."""

    call: Callable[[int, Storages | None, bool], list[torch.Tensor]]
    """Maps position of the input set, memory and "leave launches out" to the tensors of the result."""
    memory: Callable[[], Storages] = dict
    """Makes the memory of one call, full of NaN; baselines allocate their memory themselves."""
    queue_cycles: int = 0
    """Cycles for which the device is kept busy beyond `HEAD_START_CYCLES`, while the host queues the call."""


class Timer:
    """Time subjects; lives in a process of its own (`kopt.sandbox.service`).

    Input sets of a workload are numbered in the order of `open`; `place` is such a number.
    """

    def __init__(self, problem: Problem, driver: Any) -> None:
        """Prepare the device.

        Args:
            problem: that the subjects solve.
            driver: Triton's driver of the zygote.
        """
        import triton

        torch.cuda.init()
        self._problem = problem
        self._driver = driver
        self._sets: dict[str, list[_OpenedInputs]] = {}
        self._subjects: dict[tuple[str, str], Timed] = {}
        self._kept: dict[tuple[str, str], tuple[int, list[torch.Tensor]]] = {}
        self._not_kept: set[tuple[str, str]] = set()
        """Subject and workload of outputs for which there was no memory."""
        self._flush = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device="cuda")
        self._timed_sets: dict[str, int] = {}
        self._random = random.SystemRandom()
        self._scratch = Scratch()
        triton.set_allocator(self._scratch)

    def open(self, sheets: Sequence[Sheet], timed: Mapping[str, int]) -> None:
        """Open the input sets.

        Args:
            sheets: one for each input set.
            timed: number of sets, by workload, that timed calls rotate over; the others are for `check` alone.
        """
        self._timed_sets = dict(timed)
        for sheet in sheets:
            arguments = {name: ipc.open_shared(shared).tensor for name, shared in sheet.arguments.items()}
            input_set = _OpenedInputs(sheet, arguments, sheet.with_tensors(arguments))
            input_set.keep()
            self._sets.setdefault(sheet.workload.name, []).append(input_set)

    def load(self, name: str, programs: Sequence[RecordedCall], binaries: Mapping[str, bytes]) -> None:
        """Make a subject of a candidate's programs."""
        for program in programs:
            replay = Replay(program, binaries, self._driver)
            self._subjects[name, program.workload] = _replayed(replay, self._sets[program.workload])

    def compile(self, subject: Subject) -> bytes:
        """Compile the reference on every main workload, in this fresh process; return the packed compilation.

        Nothing is timed in this process: the process that times finds the compilation in the subject's folder.
        """
        with compiling(subject) as compiled:
            self._add(subject, compiled)
        return packed_caches(subject.folder)

    def baseline(self, subject: Subject) -> tuple[int, int]:
        """Make a subject of the reference and warm it up.

        Returns:
            Number of graphs that were compiled before, and number of those that were not.
        """
        if subject.baseline not in MODES:
            self._add(subject, lambda model: model)
            return 0, 0
        before = graphs_found()
        with compiling(subject) as compiled:
            self._add(subject, compiled)
        found, new = graphs_found()
        return found - before[0], new - before[1]

    def _add(self, subject: Subject, prepared: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        for workload in self._problem.main:
            function = prepared(self._model(self._sets[workload.name][0]))
            called = _called(function, self._sets[workload.name])
            self._subjects[subject.name, workload.name] = called
            self.warm(workload.name, [subject.name], WARM_UP)
            self._subjects[subject.name, workload.name] = called._replace(
                queue_cycles=self._queue_cycles(called, workload.name)
            )

    def _queue_cycles(self, subject: Timed, workload: str) -> int:
        """Return for how long the device has to be busy while the host queues a call, which may take milliseconds.

        Otherwise the time of a reference of many small operations, or of autograd's, would be that of the host.
        """
        longest = 0.0
        for turn in range(QUEUED_CALLS):
            place = turn % self._timed_sets[workload]
            self._scratch.begin(subject)
            torch.cuda.synchronize()
            torch.cuda._sleep(QUEUED_CYCLES)
            start = time.perf_counter()
            subject.call(place, None, False)
            longest = max(longest, time.perf_counter() - start)
            self._sets[workload][place].restore()
        torch.cuda.synchronize()
        return min(int(QUEUED_ROOM * longest * CYCLES_PER_SECOND), MOST_CYCLES)

    def check(self, name: str, workload: str, place: int, ghost: bool, fill: int = NAN_BYTE) -> bool:
        """Run a subject once on new memory, and hand its result over to the referee.

        Writes to arguments stay there: the referee looks at them, and restores them.

        Args:
            name: name of the subject.
            workload: name of the workload.
            place: index of the input set.
            ghost: leave the launches out.
            fill: byte that fills the new memory; NaN is made of the usual one.

        Returns:
            False when the result has other tensors, shapes or dtypes, and is not handed over.
        """
        input_set = self._sets[workload][place]
        subject = self._subjects[name, workload]
        self._scratch.begin(subject)
        memory = subject.memory()
        for flat in memory.values() if fill != NAN_BYTE else ():
            flat.fill_(fill)
        tensors = subject.call(place, memory, ghost)
        torch.cuda.synchronize()
        return _hand_over(tensors, input_set.sheet.outputs)

    def inputs_renewed(self) -> None:
        """Take note that the input sets hold other values, and make the device as busy as before timed calls."""
        for input_set in (input_set for sets in self._sets.values() for input_set in sets):
            input_set.keep()
        for _ in range(BUSY_FILLS):
            self._flush.zero_()
        torch.cuda.synchronize()

    def warm(self, workload: str, names: Sequence[str], calls: int) -> None:
        """Call every subject without timing, in turn."""
        for turn in range(calls):
            for name in names:
                place = turn % self._timed_sets[workload]
                subject = self._subjects[name, workload]
                self._scratch.begin(subject)
                subject.call(place, None, False)
                self._sets[workload][place].restore()
        torch.cuda.synchronize()

    def race(self, workload: str, names: Sequence[str], launches: int, start: int) -> dict[str, list[float]]:
        """Time every subject, interleaved, and keep the output of one random call of each for `hand_over_kept`.

        Args:
            workload: name of the workload.
            names: names of the subjects.
            launches: timed calls of each subject.
            start: timed calls of earlier stages; input sets and order of subjects rotate on from there.

        Returns:
            Times in ms by name; times at equal positions were taken side by side.
        """
        sets = self._sets[workload]
        times: dict[str, list[float]] = {name: [] for name in names}
        chosen = {name: self._random.randrange(launches) for name in names}
        for turn in range(launches):
            place = (start + turn) % self._timed_sets[workload]
            for step in range(len(names)):
                name = names[(start + turn + step) % len(names)]
                ms, tensors = self._timed(self._subjects[name, workload], place)
                times[name].append(ms)
                if turn == chosen[name]:
                    self._keep(name, workload, place, tensors)
                sets[place].restore()
        return times

    def alternate(
        self, workload: str, names: Sequence[str], new: int, known: int, keep: bool
    ) -> dict[str, tuple[float, float]]:
        """Time every subject once on new and once on known inputs, subjects and inputs in random order.

        Args:
            workload: name of the workload.
            names: names of the subjects.
            new: position of the input set with new values.
            known: position of an input set on which every subject has been called.
            keep: keep the outputs on the new inputs for `hand_over_kept`.

        Returns:
            Times on new and on known inputs, ms, by name.
        """
        times: dict[str, tuple[float, float]] = {}
        for name in self._random.sample(list(names), len(names)):
            took = {}
            for place in self._random.sample([new, known], 2):
                took[place], tensors = self._timed(self._subjects[name, workload], place)
                if keep and place == new:
                    self._keep(name, workload, place, tensors)
                self._sets[workload][place].restore()
            times[name] = (took[new], took[known])
        return times

    def wall(self, workload: str, name: str) -> float:
        """Measure the median wall time of one call on an idle device, the host's work included, ms."""
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

    def hand_over_kept(self, name: str, workload: str) -> int:
        """Hand over the kept output of a timed call, or that of one more call where no memory was left to keep it.

        Returns:
            Position of the input set that the output belongs to; -1 when no call has been timed.

        Raises:
            DeviceError: the output has another shape or dtype.
        """
        nothing: tuple[int, list[torch.Tensor]] = (-1, [])
        place, tensors = self._kept.pop((name, workload), nothing)
        if (name, workload) in self._not_kept:
            self._not_kept.discard((name, workload))
            place = self._random.randrange(self._timed_sets[workload])
            _, tensors = self._timed(self._subjects[name, workload], place)
        if place < 0:
            return place
        input_set = self._sets[workload][place]
        if not _hand_over(tensors, input_set.sheet.outputs):
            raise DeviceError(f"{name}: a timed call returned a result of another shape")
        input_set.restore()
        return place

    def _timed(self, subject: Timed, place: int) -> tuple[float, list[torch.Tensor]]:
        """Time one call; return its time in ms and its result."""
        before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        memory = subject.memory()
        self._scratch.begin(subject)
        torch.cuda.synchronize()
        self._flush.zero_()
        torch.cuda._sleep(HEAD_START_CYCLES + subject.queue_cycles)
        before.record()
        tensors = subject.call(place, memory, False)
        after.record()
        torch.cuda.synchronize()
        return before.elapsed_time(after), tensors

    def _keep(self, name: str, workload: str, place: int, tensors: Sequence[torch.Tensor]) -> None:
        self._kept.pop((name, workload), None)
        self._not_kept.discard((name, workload))
        held = sum(tensor.nbytes for _, kept in self._kept.values() for tensor in kept)
        if held + sum(tensor.nbytes for tensor in tensors) <= KEPT_BYTES:
            self._kept[name, workload] = (place, self._sets[workload][place].own(tensors))
        else:
            self._not_kept.add((name, workload))

    def _model(self, input_set: _OpenedInputs) -> torch.nn.Module:
        """Make the reference model on the shared state; what a call changes in the state is the model's own."""
        with torch.device("cuda"):
            reference = setup.load_reference(self._problem, input_set.sheet.workload)
            model = setup.make_model(reference, self._problem)
        kept = input_set.pristine
        state = {name: one.clone() if name in kept else one for name, one in input_set.arguments.items()}
        put_state(model, state)
        return model


def _replayed(replay: Replay, sets: Sequence[_OpenedInputs]) -> Timed:
    storages = [input_set.storages for input_set in sets]

    def run(place: int, memory: Storages | None, ghost: bool) -> list[torch.Tensor]:
        return [*replay.run(storages[place], memory=memory, ghost=ghost), *sets[place].changed]

    return Timed(run, replay.memory, replay.steps * STEP_CYCLES)


def _called(function: Callable[..., Any], sets: Sequence[_OpenedInputs]) -> Timed:
    def run(place: int, memory: Storages | None, ghost: bool) -> list[torch.Tensor]:
        with torch.no_grad():
            output = function(*sets[place].inputs)
        return [*taken_apart(output, "output").tensors.values(), *sets[place].changed]

    return Timed(run)


def _hand_over(tensors: Sequence[torch.Tensor], outputs: Sequence[Shared]) -> bool:
    """Copy a result into the referee's memory; False where it has other tensors, and nothing is copied."""
    pairs = list(zip(tensors, outputs, strict=False))
    if len(tensors) != len(outputs) or any(
        tuple(tensor.shape) != shared.shape or dtype_name(tensor.dtype) != shared.dtype for tensor, shared in pairs
    ):
        return False
    ipc.copy_into([(shared, tensor) for tensor, shared in pairs])
    return True
