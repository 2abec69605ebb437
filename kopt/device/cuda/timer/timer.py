"""Run the service of the timer, the process that times all subjects of a batch, interleaved, by one method.

Subjects are recorded programs of candidates and baselines of the reference (eager, compiled).  No candidate's Python
code runs here, so no candidate can reach the clock, which is CUDA events of this process.

How one call is timed is said in `kopt.device.cuda.timer.clock`.  Input sets rotate, so values and addresses change.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any  # inputs of a problem may have any type, Triton has no types

import torch

from kopt.device.baselines.compilations import MODES, Subject
from kopt.device.baselines.compiler import compiling, graphs_found, packed_caches
from kopt.device.cuda.recording.program import RecordedCall
from kopt.device.cuda.recording.replay import Replay
from kopt.device.cuda.sharing.sheets import Sheet
from kopt.device.cuda.storage import give_back_spare
from kopt.device.cuda.timer.clock import Clock
from kopt.device.cuda.timer.opened_inputs import OpenedInputs, open_inputs
from kopt.device.cuda.timer.subject import TimedSubject, called, reference_model, replayed
from kopt.device.hardware.lease import lend
from kopt.errors import DeviceError
from kopt.model.problem import Problem

WARM_UP = 3
"""Untimed calls of a new baseline."""
NAN_BYTE = 0xFF
"""Byte of which NaN is made, the fill of new memory."""
FREE_TO_LEND = 0.8
"""Share of the GPU's memory that must be free to lend the GPU."""
KEPT_BYTES = 8 << 30
"""Size of the outputs of timed calls that may be kept for verification."""


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
        torch.cuda.init()
        self._problem = problem
        self._driver = driver
        self._sets: dict[str, list[OpenedInputs]] = {}
        self._subjects: dict[tuple[str, str], TimedSubject] = {}
        self._kept: dict[tuple[str, str], tuple[int, list[torch.Tensor]]] = {}
        self._clock = Clock()
        self._timed_sets: dict[str, int] = {}
        self._random = random.SystemRandom()

    def open(self, sheets: Sequence[Sheet], timed: Mapping[str, int]) -> None:
        """Open the input sets.

        Args:
            sheets: one for each input set.
            timed: number of sets, by workload, that timed calls rotate over; the others are for `check` alone.
        """
        self._timed_sets = dict(timed)
        for sheet in sheets:
            self._sets.setdefault(sheet.workload.name, []).append(open_inputs(sheet))

    def load(self, name: str, programs: Sequence[RecordedCall], binaries: Mapping[str, bytes]) -> None:
        """Make a subject of a candidate's programs."""
        for program in programs:
            replay = Replay(program, binaries, self._driver)
            self._subjects[name, program.workload] = replayed(replay, self._sets[program.workload])

    def compile(self, subject: Subject) -> bytes:
        """Compile the reference on every main workload, in this fresh process; return the packed compilation.

        Nothing is timed in this process: the process that times finds the compilation in the subject's folder.  The GPU
        is lent while Triton compiles, unless much of its memory is taken already, so that others would lack it.
        """
        free, total = torch.cuda.mem_get_info()
        with compiling(subject, _lent if free > FREE_TO_LEND * total else nullcontext) as compiled:
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
            sets = self._sets[workload.name]
            reference = called(prepared(reference_model(self._problem, sets[0])), sets)
            self._subjects[subject.name, workload.name] = reference
            self.warm(workload.name, [subject.name], WARM_UP)
            self._subjects[subject.name, workload.name] = reference._replace(
                queue_cycles=self._clock.queue_cycles(reference, self._timed_inputs(workload.name))
            )

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
        self._clock.prepare(subject)
        memory = subject.memory()
        for flat in memory.values() if fill != NAN_BYTE else ():
            flat.fill_(fill)
        tensors = subject.call(place, memory, ghost)
        torch.cuda.synchronize()
        kept_shape = input_set.hand_over(tensors)
        del memory, tensors
        give_back_spare()
        return kept_shape

    def inputs_renewed(self) -> None:
        """Take note that the input sets hold other values, and make the device as busy as before timed calls."""
        for input_set in (input_set for sets in self._sets.values() for input_set in sets):
            input_set.keep()
        self._clock.keep_busy()

    def warm(self, workload: str, names: Sequence[str], calls: int) -> None:
        """Call every subject without timing, in turn."""
        for turn in range(calls):
            for name in names:
                place = turn % self._timed_sets[workload]
                subject = self._subjects[name, workload]
                self._clock.prepare(subject)
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
                ms, tensors = self._clock.timed(self._subjects[name, workload], place)
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
                took[place], tensors = self._clock.timed(self._subjects[name, workload], place)
                if keep and place == new:
                    self._keep(name, workload, place, tensors)
                self._sets[workload][place].restore()
            times[name] = (took[new], took[known])
        return times

    def wall(self, workload: str, name: str) -> float:
        """Measure the median wall time of one call, ms."""
        return self._clock.wall_ms(self._subjects[name, workload], self._timed_inputs(workload))

    def hand_over_kept(self, name: str, workload: str) -> int:
        """Hand over the kept output of a timed call, or that of one more call where none is kept.

        None is kept where memory was short, and in a timer that has replaced one that broke.

        Returns:
            Position of the input set that the output belongs to.

        Raises:
            DeviceError: the output has another shape or dtype.
        """
        kept = self._kept.pop((name, workload), None)
        if kept is None:
            place = self._random.randrange(self._timed_sets[workload])
            _, tensors = self._clock.timed(self._subjects[name, workload], place)
        else:
            place, tensors = kept
            del kept
        input_set = self._sets[workload][place]
        if not input_set.hand_over(tensors):
            raise DeviceError(f"{name}: a timed call returned a result of another shape")
        input_set.restore()
        del tensors
        give_back_spare()
        return place

    def _timed_inputs(self, workload: str) -> list[OpenedInputs]:
        """Return the input sets of a workload that timed calls rotate over."""
        return self._sets[workload][: self._timed_sets[workload]]

    def _keep(self, name: str, workload: str, place: int, tensors: Sequence[torch.Tensor]) -> None:
        self._kept.pop((name, workload), None)
        held = sum(tensor.nbytes for _, kept in self._kept.values() for tensor in kept)
        if held + sum(tensor.nbytes for tensor in tensors) <= KEPT_BYTES:
            self._kept[name, workload] = (place, self._sets[workload][place].own(tensors))


@contextmanager
def _lent() -> Iterator[None]:
    """Lend the GPU inside the block, once it has done what it was asked to do."""
    torch.cuda.synchronize()
    with lend():
        yield
