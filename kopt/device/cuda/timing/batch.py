"""Time subjects together in one timer process: recorded calls of candidates, and baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from kopt.device.cuda.results.times import Samples
from kopt.device.cuda.results.verdicts import JUDGE, Recorded
from kopt.device.cuda.sharing.sheets import forbidden_argument
from kopt.device.cuda.timing.admission import Admission
from kopt.device.cuda.timing.loaded_timer import LoadedTimer
from kopt.device.draws.distributions import TIMED
from kopt.device.draws.seeds import derive_seed
from kopt.errors import DeviceError
from kopt.model.verdict import Incorrect, Verdict
from kopt.sandbox.service import CHECK_S, PREPARE_S


class Pair(NamedTuple):
    """Times of two calls that were made one right after the other, in random order."""

    new_ms: float
    """Time on inputs with which the subject had not been called."""
    known_ms: float
    """Time on inputs with which it had been called."""


Turn = dict[str, dict[str, Pair]]
"""Times of one turn, by workload and name of the subject."""


class InputChanged(DeviceError):
    """A timed call changed an input that no candidate may change."""

    def __init__(self, argument: str) -> None:
        super().__init__(f"{argument} was changed by a timed call")
        self.argument = argument


@dataclass
class TimedBatch(LoadedTimer):
    """Subjects that are timed together."""

    def admit(self, candidates: Mapping[str, Recorded]) -> dict[str, Verdict]:
        """Load candidates' programs and verify their replays (`Admission.admit`)."""
        return Admission(self).admit(candidates)

    def warm(self, names: Sequence[str], calls: int) -> None:
        """Call every subject on every workload without timing."""
        for workload in self.processes.problem.main:
            self.timer.call("warm", workload.name, list(names), calls, seconds=CHECK_S + calls * len(names))

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
            workload.name: self.timer.call("race", workload.name, list(names), launches, start, seconds=limit)
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
        places = [self.draw_index(workload.name, new) for workload in self.processes.problem.main]
        draws = list(self.draws)
        for at in places:
            draws[at] = replace(draws[at], seed=derive_seed(draws[at].seed, "anew"))
        self.draws = draws
        self.processes.referee.call("renew", {at: draws[at] for at in places}, seconds=PREPARE_S)
        self.timer.call("inputs_renewed", seconds=CHECK_S)
        limit = CHECK_S + 2 * len(names)
        times = {
            workload.name: self.timer.call("alternate", workload.name, list(names), new, known, keep, seconds=limit)
            for workload in self.processes.problem.main
        }
        self._check_inputs()
        return {workload: {name: Pair(*pair) for name, pair in by_name.items()} for workload, by_name in times.items()}

    def wall_ms(self, name: str) -> dict[str, float]:
        """Measure the wall time of one call by workload, ms."""
        main = self.processes.problem.main
        return {workload.name: self.timer.call("wall", workload.name, name, seconds=CHECK_S) for workload in main}

    def verify_kept_output(self, name: str) -> Verdict | None:
        """Verify for each workload the output of a timed call; None when nothing is wrong."""
        for workload in self.processes.problem.main:
            place = self.timer.call("hand_over_kept", name, workload.name, seconds=CHECK_S)
            at = self.draw_index(workload.name, place)
            comparison = self.processes.referee.call("judge", 0, at, seconds=PREPARE_S)
            if not comparison.right:
                return Incorrect(judge=JUDGE, reason=f"a timed call gave a wrong result: {comparison.reason}")
        return None

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
