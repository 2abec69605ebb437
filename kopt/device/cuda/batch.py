"""A batch: subjects that are timed together in one timer process, each verified there before it races."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kopt.device.cuda.referee import Sheet
from kopt.device.cuda.verdicts import JUDGE, Recorded, Samples, failure, mutation
from kopt.device.reference.distributions import TIMED, Draw, derive_seed
from kopt.errors import DeviceError, WorkerDied
from kopt.model.build import Phase
from kopt.model.verdict import Incorrect, Verdict
from kopt.sandbox.service import CHECK_S, PREPARE_S, CallFailed, CallTimedOut, ServiceProcess

if TYPE_CHECKING:
    from kopt.device.cuda.bench import JudgeProcesses


class InputChanged(DeviceError):
    """A timed call changed an input that no candidate may change."""

    def __init__(self, argument: str) -> None:
        super().__init__(f"input {argument} was changed by a timed call")
        self.argument = argument


@dataclass
class TimedBatch:
    """Subjects that are timed together in one timer process."""

    bench: JudgeProcesses
    draws: Sequence[Draw]
    sheets: Sequence[Sheet]
    _loaded: dict[str, Recorded] = field(default_factory=dict)
    _baselines: list[str] = field(default_factory=list)
    _timer: ServiceProcess = field(init=False)

    def __post_init__(self) -> None:
        self._start()

    def admit(self, name: str, recorded: Recorded) -> Verdict | None:
        """Load a candidate's programs and verify their replay; None, and it may race, when nothing is wrong.

        Raises:
            WorkerDied, CallFailed: the referee broke, which no candidate is to blame for.
        """
        try:
            self._load(name, recorded)
            for workload in self.bench.problem.main:
                wrong = self._checked(name, workload.name)
                if wrong is not None:
                    return wrong
        except (WorkerDied, CallFailed) as error:
            referee = self.bench.referee
            if referee.pid == 0 or (isinstance(error, CallFailed) and error.process == referee.name):
                raise
            self.revive()
            return _blame(error)
        self._loaded[name] = recorded
        return None

    def add_baseline(self, name: str, seconds: float) -> None:
        """Add `eager`, `compile` or `max-autotune`."""
        self._timer.call("baseline", name, seconds=seconds)
        self._baselines.append(name)

    def warm(self, names: Sequence[str], calls: int) -> None:
        """Untimed calls of every subject on every workload."""
        for workload in self.bench.problem.main:
            self._timer.call("warm", workload.name, list(names), calls, seconds=CHECK_S + calls * len(names))

    def race(self, names: Sequence[str], launches: int, start: int) -> Samples:
        """Time every subject on every workload, interleaved.

        Raises:
            WorkerDied, CallFailed, InputChanged: something broke; `revive` before going on.
        """
        limit = CHECK_S + launches * len(names)
        times = {
            workload.name: self._timer.call("race", workload.name, list(names), launches, start, seconds=limit)
            for workload in self.bench.problem.main
        }
        self._look_at_inputs()
        return times

    def race_unseen(self, name: str) -> Samples:
        """Time one call of a subject on each workload, on inputs that nobody was called with; its output is kept.

        Raises:
            WorkerDied, CallFailed, InputChanged: something broke; `revive` before going on.
        """
        places = [self._at(workload.name, 0) for workload in self.bench.problem.main]
        draws = list(self.draws)
        for at in places:
            draws[at] = replace(draws[at], seed=derive_seed(draws[at].seed, "anew"))
        self.draws = draws
        self.bench.referee.call("renew", {at: draws[at] for at in places}, seconds=PREPARE_S)
        self._timer.call("inputs_renewed", seconds=CHECK_S)
        return self.race([name], 1, 0)

    def wall_ms(self, name: str) -> dict[str, float]:
        """Wall time of one call by workload, ms."""
        return {w.name: self._timer.call("wall", w.name, name, seconds=CHECK_S) for w in self.bench.problem.main}

    def verify_kept_output(self, name: str) -> Verdict | None:
        """Verify the outputs of the timed calls that were kept; None when nothing is wrong."""
        for workload in self.bench.problem.main:
            place = self._timer.call("kept", name, workload.name, seconds=CHECK_S)
            if place >= 0:
                comparison = self.bench.referee.call("judge", 0, self._at(workload.name, place), seconds=PREPARE_S)
                if not comparison.right:
                    return Incorrect(judge=JUDGE, reason=f"a timed call gave a wrong result: {comparison.reason}")
        return None

    def revive(self) -> None:
        """A fresh timer with all that was loaded, on inputs as they were, after something broke the last one."""
        self.bench.end_timing()
        self.bench.check_health()
        self.bench.referee.call("restore", seconds=PREPARE_S)
        self._start()
        for name, recorded in self._loaded.items():
            self._load(name, recorded)
        for name in self._baselines:
            self._timer.call("baseline", name, seconds=PREPARE_S)

    def drop(self, name: str) -> None:
        """Do not load a subject again."""
        self._loaded.pop(name, None)

    def _look_at_inputs(self) -> None:
        """At those that are timed on, before any answer is made of them."""
        for at, (sheet, draw) in enumerate(zip(self.sheets, self.draws, strict=True)):
            if draw.distribution == TIMED:
                places = self.bench.referee.call("mutated", at, seconds=CHECK_S)
                if argument := self.bench.forbidden(sheet, places):
                    raise InputChanged(argument)

    def _start(self) -> None:
        self._timer = self.bench.start_timer()
        timed = Counter(draw.workload.name for draw in self.draws if draw.distribution == TIMED)
        self._timer.call("open", list(self.sheets), dict(timed), seconds=PREPARE_S)

    def _load(self, name: str, recorded: Recorded) -> None:
        self._timer.call("load", name, recorded.programs, dict(recorded.binaries), seconds=CHECK_S)

    def _checked(self, name: str, workload: str) -> Verdict | None:
        """The replay on new memory, on inputs of every distribution, then the ghost."""
        places = [
            place for place, draw in enumerate(self._draws_of(workload)) if place == 0 or draw.distribution != TIMED
        ]
        for place in places:
            wrong = self._replayed(name, workload, place)
            if wrong is not None:
                return wrong
        self._timer.call("check", name, workload, 1, True, seconds=CHECK_S)
        referee, at = self.bench.referee, self._at(workload, 1)
        referee.call("mutated", at, seconds=CHECK_S)
        ghost = referee.call("judge", 0, at, seconds=PREPARE_S)
        referee.call("poison", 0, seconds=CHECK_S)
        if ghost.right:
            return Incorrect(
                judge=JUDGE,
                reason="with every launch left out the output is still right: the Triton kernel does not make it",
            )
        return None

    def _replayed(self, name: str, workload: str, place: int) -> Verdict | None:
        at, referee = self._at(workload, place), self.bench.referee
        kept_shape = self._timer.call("check", name, workload, place, False, seconds=CHECK_S)
        changed = referee.call("mutated", at, seconds=CHECK_S)
        if argument := self.bench.forbidden(self.sheets[at], changed):
            return mutation(argument)
        if not kept_shape:
            return failure(Phase.CONTRACT, "the replayed call returns another shape or dtype")
        comparison = referee.call("judge", 0, at, seconds=PREPARE_S)
        referee.call("poison", 0, seconds=CHECK_S)
        if not comparison.right:
            return Incorrect(judge=JUDGE, reason=f"replayed on fresh inputs: {comparison.reason}")
        return None

    def _draws_of(self, workload: str) -> list[Draw]:
        return [draw for draw in self.draws if draw.workload.name == workload]

    def _at(self, workload: str, place: int) -> int:
        """Position of a workload's input set among the draws."""
        return [at for at, draw in enumerate(self.draws) if draw.workload.name == workload][place]


def _blame(error: DeviceError | WorkerDied) -> Verdict:
    if isinstance(error, CallTimedOut):
        return failure(Phase.TIMEOUT, "the replay of its launches does not end")
    if isinstance(error, CallFailed):
        return failure(Phase.LAUNCH, f"the replay of its launches fails: {error}")
    return failure(Phase.CRASH, "the replay of its launches kills the process")
