"""Time subjects together in one timer process, after verifying there the replay of every candidate."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from kopt.device.baselines.compilations import Subject
from kopt.device.cuda.results.verdicts import JUDGE, Pair, Recorded, Samples, Turn, failure, mutation
from kopt.device.cuda.sharing.sheets import Sheet, forbidden_argument
from kopt.device.draws.distributions import FULL_SIZE, TIMED, Draw
from kopt.device.draws.seeds import derive_seed
from kopt.device.reference.rejection import right_ghost_reason
from kopt.errors import DeviceError, WorkerDied
from kopt.model.build import Phase
from kopt.model.problem import Problem
from kopt.model.verdict import Failed, Incorrect, Verdict
from kopt.sandbox.service import CHECK_S, PREPARE_S, CallFailed, CallTimedOut, ServiceProcess

log = logging.getLogger(__name__)

SET_SHARE = 0.2
"""Share of the device's memory that the timed input sets of one workload may take."""
SETS_SHARE = 0.6
"""Share of the device's memory that all input sets of one workload may take."""
GHOST_FILLS = (0xFF, 0)
"""Bytes that fill new memory in the ghost replays: an output of truth values may be full of one of them by right."""
MOST_SETS = 3
"""Largest number of timed input sets of one workload."""


class InputChanged(DeviceError):
    """A timed call changed an input that no candidate may change."""

    def __init__(self, argument: str) -> None:
        super().__init__(f"{argument} was changed by a timed call")
        self.argument = argument


class TimingProcesses(Protocol):
    """The processes that a batch needs."""

    @property
    def problem(self) -> Problem:
        """The problem that the subjects solve."""

    @property
    def referee(self) -> ServiceProcess:
        """The process that holds the input sets and the expected outputs."""

    def start_timer(self) -> ServiceProcess:
        """Start a fresh timer in place of the last one."""

    def end_timing(self) -> None:
        """End the timer, if there is one."""

    def check_health(self) -> None:
        """Check that the device still computes."""


def timing_draws(problem: Problem, bytes_by_workload: Mapping[str, int], memory_bytes: int, seed: str) -> list[Draw]:
    """Plan the input sets of a batch: for each main workload sets to time on, then sets of other distributions.

    Args:
        problem: to time on.
        bytes_by_workload: size of one input set, with its output and the copies that the timer keeps.
        memory_bytes: memory of the device, which limits the number of sets.
        seed: all draws follow from it.
    """
    return [
        Draw(workload, distribution, derive_seed(seed, workload.name, place), kind="timed")
        for workload in problem.main
        for place, distribution in enumerate(_distributions(bytes_by_workload[workload.name], memory_bytes))
    ]


def _distributions(set_bytes: int, memory_bytes: int) -> list[str]:
    """List the distributions of a workload's input sets: the timed sets, then those that are only verified."""
    timed = max(2, min(MOST_SETS, int(SET_SHARE * memory_bytes / max(set_bytes, 1))))
    room = int(SETS_SHARE * memory_bytes / max(set_bytes, 1)) - timed
    return [TIMED] * timed + list(FULL_SIZE[: max(0, room)])


@dataclass
class TimedBatch:
    """Subjects that are timed together: recorded calls of candidates, and baselines."""

    processes: TimingProcesses
    draws: Sequence[Draw]
    sheets: Sequence[Sheet]
    """Sheets of the draws, in order of the draws."""
    _loaded: dict[str, Recorded] = field(default_factory=dict)
    baselines: dict[str, Subject] = field(default_factory=dict)
    """The baselines that are loaded, by name."""
    _timer: ServiceProcess = field(init=False)

    def __post_init__(self) -> None:
        self._start()

    def admit(self, candidates: Mapping[str, Recorded]) -> dict[str, Verdict]:
        """Load candidates' programs and verify their replays: input set by input set, each for all candidates.

        So expected outputs that are too large to be kept beside others are not made again for each candidate.  Where an
        input has changed, each candidate is verified by itself, since the one that noticed need not have done it.

        Args:
            candidates: recorded calls by name.

        Returns:
            The verdicts of those that fail, by name; the others race.

        Raises:
            WorkerDied, CallFailed: the referee broke, which is not a candidate's fault.
        """
        verdicts = self._verified(candidates)
        changed = any(isinstance(one, Failed) and one.phase is Phase.MUTATION for one in verdicts.values())
        if not self._changed_argument() and not changed:
            return verdicts
        log.warning("an input changed while replays were verified: each candidate is verified by itself")
        verdicts = {}
        for name, recorded in candidates.items():
            verdicts |= self._verified({name: recorded})
            if (argument := self._changed_argument()) and name not in verdicts:
                self.drop(name)
                verdicts[name] = mutation(argument)
        return verdicts

    def _verified(self, candidates: Mapping[str, Recorded]) -> dict[str, Verdict]:
        verdicts: dict[str, Verdict] = {}
        for name, recorded in candidates.items():
            self._try(name, verdicts, partial(self._load, name, recorded))
        for workload in self.processes.problem.main:
            draws = enumerate(self._draws_of(workload.name))
            places = [place for place, draw in draws if place == 0 or draw.distribution != TIMED]
            checks = [partial(self._check_replay, workload=workload.name, place=place) for place in places]
            for check in (*checks, partial(self._check_ghost, workload=workload.name)):
                for name in candidates:
                    if name not in verdicts:
                        self._try(name, verdicts, partial(check, name))
        return verdicts

    def _changed_argument(self) -> str:
        """Return an argument of any input set that has changed and may not, else empty; all are made again."""
        found = ""
        for at, sheet in enumerate(self.sheets):
            changed = self.processes.referee.call("mutated", at, seconds=CHECK_S)
            found = found or forbidden_argument(sheet, changed)
        return found

    def _try(self, name: str, verdicts: dict[str, Verdict], check: Callable[[], Verdict | None]) -> None:
        """Check a candidate; note its verdict, and do not load it again, when it fails or breaks the timer."""
        try:
            verdict = check()
        except (WorkerDied, CallFailed) as error:
            referee = self.processes.referee
            if referee.pid == 0 or (isinstance(error, CallFailed) and error.process == referee.name):
                raise
            self.drop(name)
            self.revive(error)
            verdict = _verdict_on(error)
        if verdict is not None:
            self.drop(name)
            verdicts[name] = verdict

    def compile(self, subject: Subject, seconds: float) -> bytes:
        """Compile a baseline in a fresh timer, and return the packed compilation; another fresh timer follows.

        Args:
            subject: the baseline's compilation.
            seconds: limit of compiling it.

        Raises:
            CallFailed: the compilation failed.
        """
        try:
            packed = self._timer.call("compile", subject, seconds=seconds)
        finally:
            self._start()
        assert isinstance(packed, bytes)
        return packed

    def add_baseline(self, subject: Subject, seconds: float) -> None:
        """Add a baseline.

        Args:
            subject: the baseline, or one compilation of it.
            seconds: limit of compiling it.

        Raises:
            CallFailed: the reference failed.
        """
        found, new = self._timer.call("baseline", subject, seconds=seconds)
        if subject.folder:
            log.info("%s: %d graphs compiled before, %d compiled now", subject.name, found, new)
        self.baselines[subject.name] = subject

    def warm(self, names: Sequence[str], calls: int) -> None:
        """Call every subject on every workload without timing."""
        for workload in self.processes.problem.main:
            self._timer.call("warm", workload.name, list(names), calls, seconds=CHECK_S + calls * len(names))

    def race(self, names: Sequence[str], launches: int, start: int) -> Samples:
        """Time every subject on every workload, interleaved.

        Args:
            names: names of the subjects.
            launches: timed calls of each subject.
            start: timed calls of earlier stages, which input sets and order of subjects rotate on from.

        Raises:
            WorkerDied, CallFailed, InputChanged: something broke; call `revive` before going on.
        """
        limit = CHECK_S + launches * len(names)
        times = {
            workload.name: self._timer.call("race", workload.name, list(names), launches, start, seconds=limit)
            for workload in self.processes.problem.main
        }
        self._check_inputs()
        return times

    def alternate(self, names: Sequence[str], turn: int, *, keep: bool) -> Turn:
        """Time each subject on inputs that no call had before and on known ones, in random order.

        The timed input set that gets new values changes from turn to turn, so that neither its memory nor its place
        tells new inputs from known ones.

        Args:
            names: names of the subjects.
            turn: number of earlier turns of this batch.
            keep: keep the outputs on the new inputs for `verify_kept_output`.

        Raises:
            WorkerDied, CallFailed, InputChanged: something broke; call `revive` before going on.
        """
        new, known = turn % 2, 1 - turn % 2
        places = [self._draw_index(workload.name, new) for workload in self.processes.problem.main]
        draws = list(self.draws)
        for at in places:
            draws[at] = replace(draws[at], seed=derive_seed(draws[at].seed, "anew"))
        self.draws = draws
        self.processes.referee.call("renew", {at: draws[at] for at in places}, seconds=PREPARE_S)
        self._timer.call("inputs_renewed", seconds=CHECK_S)
        limit = CHECK_S + 2 * len(names)
        times = {
            workload.name: self._timer.call("alternate", workload.name, list(names), new, known, keep, seconds=limit)
            for workload in self.processes.problem.main
        }
        self._check_inputs()
        return {workload: {name: Pair(*pair) for name, pair in by_name.items()} for workload, by_name in times.items()}

    def wall_ms(self, name: str) -> dict[str, float]:
        """Measure the wall time of one call by workload, ms."""
        main = self.processes.problem.main
        return {workload.name: self._timer.call("wall", workload.name, name, seconds=CHECK_S) for workload in main}

    def verify_kept_output(self, name: str) -> Verdict | None:
        """Verify the outputs of the timed calls that were kept; None when nothing is wrong."""
        for workload in self.processes.problem.main:
            place = self._timer.call("hand_over_kept", name, workload.name, seconds=CHECK_S)
            if place >= 0:
                at = self._draw_index(workload.name, place)
                comparison = self.processes.referee.call("judge", 0, at, seconds=PREPARE_S)
                if not comparison.right:
                    return Incorrect(judge=JUDGE, reason=f"a timed call gave a wrong result: {comparison.reason}")
        return None

    def revive(self, cause: Exception) -> None:
        """Replace a timer that broke by a fresh one, with all subjects loaded again and the inputs restored.

        Args:
            cause: what broke it: where memory was short, the referee frees what only saves time.
        """
        self.processes.end_timing()
        self.processes.check_health()
        if "out of memory" in str(cause):
            self.processes.referee.call("release", seconds=CHECK_S)
        self.processes.referee.call("restore", seconds=PREPARE_S)
        self._start()
        for name, recorded in list(self._loaded.items()):
            self._load(name, recorded)
        for subject in self.baselines.values():
            self._timer.call("baseline", subject, seconds=PREPARE_S)

    def drop(self, name: str) -> None:
        """Do not load a subject again."""
        self._loaded.pop(name, None)

    def _check_inputs(self) -> None:
        """Check the inputs that are timed on, before an expected output is made of them.

        Raises:
            InputChanged: a timed call changed one that it may not change.
        """
        for at, (sheet, draw) in enumerate(zip(self.sheets, self.draws, strict=True)):
            if draw.distribution == TIMED:
                changed = self.processes.referee.call("mutated", at, seconds=CHECK_S)
                if argument := forbidden_argument(sheet, changed):
                    raise InputChanged(argument)

    def _start(self) -> None:
        self._timer = self.processes.start_timer()
        timed = Counter(draw.workload.name for draw in self.draws if draw.distribution == TIMED)
        self._timer.call("open", list(self.sheets), dict(timed), seconds=PREPARE_S)

    def _load(self, name: str, recorded: Recorded) -> None:
        self._timer.call("load", name, recorded.programs, dict(recorded.binaries), seconds=CHECK_S)
        self._loaded[name] = recorded

    def _check_ghost(self, name: str, workload: str) -> Verdict | None:
        """Refuse a candidate whose output is right without its launches, on memory whose bytes all have one value."""
        referee, at = self.processes.referee, self._draw_index(workload, 1)
        for fill in GHOST_FILLS:
            self._timer.call("check", name, workload, 1, True, fill, seconds=CHECK_S)
            changed = referee.call("mutated", at, seconds=CHECK_S)
            if argument := forbidden_argument(self.sheets[at], changed):
                return mutation(argument)
            ghost = referee.call("judge", 0, at, seconds=PREPARE_S)
            referee.call("fill_with_nan", 0, seconds=CHECK_S)
            if not ghost.right:
                return None
        return Incorrect(judge=JUDGE, reason=right_ghost_reason(self.processes.problem.seed.language))

    def _check_replay(self, name: str, workload: str, place: int) -> Verdict | None:
        """Verify the replay on new memory, on one input set."""
        at, referee = self._draw_index(workload, place), self.processes.referee
        kept_shape = self._timer.call("check", name, workload, place, False, seconds=CHECK_S)
        changed = referee.call("mutated", at, seconds=CHECK_S)
        if argument := forbidden_argument(self.sheets[at], changed):
            return mutation(argument)
        if not kept_shape:
            return failure(Phase.CONTRACT, "the replayed call returns another shape or dtype")
        comparison = referee.call("judge", 0, at, seconds=PREPARE_S)
        referee.call("fill_with_nan", 0, seconds=CHECK_S)
        if not comparison.right:
            return Incorrect(judge=JUDGE, reason=f"replayed on fresh inputs: {comparison.reason}")
        return None

    def _draws_of(self, workload: str) -> list[Draw]:
        return [draw for draw in self.draws if draw.workload.name == workload]

    def _draw_index(self, workload: str, place: int) -> int:
        """Return the position among all draws of a workload's input set."""
        return [at for at, draw in enumerate(self.draws) if draw.workload.name == workload][place]


def _verdict_on(error: DeviceError | WorkerDied) -> Verdict:
    """Make a verdict of an error that a candidate's replay caused."""
    if isinstance(error, CallTimedOut):
        return failure(Phase.TIMEOUT, "the replay of its launches does not end")
    if isinstance(error, CallFailed):
        return failure(Phase.LAUNCH, f"the replay of its launches fails: {error}")
    return failure(Phase.CRASH, "the replay of its launches kills the process")
