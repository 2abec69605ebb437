"""Admit candidates to a batch: verify the replay of each, input set by input set, and find who changes an input."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from kopt.device.cuda.results.verdicts import JUDGE, Recorded, failure, mutation
from kopt.device.cuda.sharing.sheets import forbidden_argument
from kopt.device.cuda.timing.loaded_timer import LoadedTimer
from kopt.device.draws.distributions import TIMED
from kopt.device.reference.rejection import right_ghost_reason
from kopt.errors import DeviceError, WorkerDied
from kopt.model.build import Phase
from kopt.model.verdict import Failed, Incorrect, Verdict
from kopt.sandbox.service import CHECK_S, PREPARE_S, CallFailed, CallTimedOut

log = logging.getLogger(__name__)

GHOST_FILLS = (0xFF, 0)
"""Bytes that fill new memory in the ghost replays: an output of truth values may be full of one of them by right."""


@dataclass
class Admission:
    """Load candidates into a timer, and drop those whose replays are wrong or break it."""

    loaded: LoadedTimer

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
                self.loaded.drop(name)
                verdicts[name] = mutation(argument)
        return verdicts

    def _verified(self, candidates: Mapping[str, Recorded]) -> dict[str, Verdict]:
        verdicts: dict[str, Verdict] = {}
        for name, recorded in candidates.items():
            self._try(name, verdicts, partial(self.loaded.load, name, recorded))
        for workload in self.loaded.processes.problem.main:
            draws = enumerate(self.loaded.draws_of(workload.name))
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
        for at, sheet in enumerate(self.loaded.sheets):
            changed = self.loaded.processes.referee.call("mutated", at, seconds=CHECK_S)
            found = found or forbidden_argument(sheet, changed)
        return found

    def _try(self, name: str, verdicts: dict[str, Verdict], check: Callable[[], Verdict | None]) -> None:
        """Check a candidate; note its verdict, and do not load it again, when it fails or breaks the timer."""
        try:
            verdict = self.loaded.with_memory(check)
        except (WorkerDied, CallFailed) as error:
            if self.loaded.is_of_referee(error):
                raise
            self.loaded.drop(name)
            self.loaded.revive(error)
            verdict = _verdict_on(error)
        if verdict is not None:
            self.loaded.drop(name)
            verdicts[name] = verdict

    def _check_replay(self, name: str, workload: str, place: int) -> Verdict | None:
        """Verify the replay on new memory, on one input set."""
        at, referee = self.loaded.draw_index(workload, place), self.loaded.processes.referee
        kept_shape = self.loaded.timer.call("check", name, workload, place, False, seconds=CHECK_S)
        changed = referee.call("mutated", at, seconds=CHECK_S)
        if argument := forbidden_argument(self.loaded.sheets[at], changed):
            return mutation(argument)
        if not kept_shape:
            return failure(Phase.CONTRACT, "the replayed call returns another shape or dtype")
        comparison = referee.call("judge", 0, at, seconds=PREPARE_S)
        referee.call("fill_with_nan", 0, seconds=CHECK_S)
        if not comparison.right:
            return Incorrect(judge=JUDGE, reason=f"replayed on fresh inputs: {comparison.reason}")
        return None

    def _check_ghost(self, name: str, workload: str) -> Verdict | None:
        """Refuse a candidate whose output is right without its launches, on memory whose bytes all have one value."""
        referee, at = self.loaded.processes.referee, self.loaded.draw_index(workload, 1)
        for fill in GHOST_FILLS:
            self.loaded.timer.call("check", name, workload, 1, True, fill, seconds=CHECK_S)
            changed = referee.call("mutated", at, seconds=CHECK_S)
            if argument := forbidden_argument(self.loaded.sheets[at], changed):
                return mutation(argument)
            ghost = referee.call("judge", 0, at, seconds=PREPARE_S)
            referee.call("fill_with_nan", 0, seconds=CHECK_S)
            if not ghost.right:
                return None
        return Incorrect(judge=JUDGE, reason=right_ghost_reason(self.loaded.processes.problem.seed.language))


def _verdict_on(error: DeviceError | WorkerDied) -> Verdict:
    """Make a verdict of an error that a candidate's replay caused."""
    if isinstance(error, CallTimedOut):
        return failure(Phase.TIMEOUT, "the replay of its launches does not end")
    if isinstance(error, CallFailed):
        return failure(Phase.LAUNCH, f"the replay of its launches fails: {error}")
    return failure(Phase.CRASH, "the replay of its launches kills the process")
