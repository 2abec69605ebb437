"""Time a batch and tolerate kernels that break it: find the kernel at fault, drop it, and go on with the others."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from kopt.device.cuda.results.chunk_results import ChunkResults
from kopt.device.cuda.results.times import Samples
from kopt.device.cuda.results.verdicts import failure, mutation
from kopt.device.cuda.timing.batch import InputChanged, TimedBatch
from kopt.device.cuda.timing.loaded_timer import is_short_of_memory
from kopt.device.hardware.nvml import together
from kopt.errors import WorkerDied
from kopt.model.build import Phase
from kopt.model.environment import Conditions
from kopt.sandbox.service import CallFailed

log = logging.getLogger(__name__)

SPOILED_TRIES = 3
"""Most tries to time a stage that heat or a hardware brake spoils."""
Measured = TypeVar("Measured")
"""Type of the times of one subject on one workload: a list of calls' times, or a `Pair` on new and known inputs."""
Broken = WorkerDied | CallFailed | InputChanged
BROKEN = (WorkerDied, CallFailed, InputChanged)
"""Errors that a batch raises when a subject breaks the timer or changes an input."""
BROKEN_TRIES = 3
"""Most searches for the kernel that breaks a stage."""


@dataclass
class TolerantTiming:
    """Time one batch; a kernel that breaks the timer, changes an input or gives a wrong output gets a verdict."""

    batch: TimedBatch
    results: ChunkResults
    """Times and verdicts are added here."""
    warmup: int
    """Untimed calls of every subject."""
    read_conditions: Callable[[], Conditions]
    """Reads the state of the device."""

    def admit(self) -> None:
        """Load all recorded kernels and verify their replays."""
        for name, verdict in self.batch.admit(dict(self.results.recorded)).items():
            self.results.fail(name, verdict)

    def warm(self, names: Sequence[str]) -> None:
        """Warm up each subject by itself, so that a subject that breaks the timer is known, and take its wall time."""
        for name in names:
            try:
                self.results.times.wall_ms[name] = self.batch.with_memory(partial(self._warm, name))
            except BROKEN as error:
                self.drop(name, error)

    def _warm(self, name: str) -> dict[str, float]:
        self.batch.warm([name], self.warmup)
        return self.batch.wall_ms(name)

    def time_stage(self, names: list[str], launches: int, done: int) -> None:
        """Time one stage and add its times; if a kernel breaks the stage, time the others.

        Args:
            names: names of the subjects.
            launches: timed calls of each subject.
            done: timed calls of earlier stages.
        """
        self.results.times.add(self._stage(names, launches, done))

    def verify_kept(self, names: Sequence[str]) -> None:
        """Verify the timed calls' outputs that were kept.

        Raises:
            CallFailed: as `drop`.
        """
        for name in names:
            try:
                verdict = self.batch.with_memory(partial(self.batch.verify_kept_output, name))
            except CallFailed as error:
                self.drop(name, error)
                continue
            if verdict is not None:
                self.results.fail(name, verdict)

    def one_by_one(
        self, names: Sequence[str], time_alone: Callable[[str], dict[str, dict[str, Measured]]]
    ) -> dict[str, dict[str, Measured]]:
        """Time each subject alone, where they cannot be timed side by side, and drop those that break even so.

        Args:
            names: names of the subjects.
            time_alone: times one subject; returns by workload what was measured of it by name.

        Returns:
            What was measured, by workload and name.

        Raises:
            WorkerDied, CallFailed, InputChanged: as `drop`.
        """
        times: dict[str, dict[str, Measured]] = {}
        for name in names:
            try:
                alone = time_alone(name)
            except BROKEN as error:
                self.drop(name, error)
                continue
            for workload, by_name in alone.items():
                times.setdefault(workload, {}).update(by_name)
        return times

    def drop(self, name: str, error: Broken) -> None:
        """Fail a candidate that broke the timer or changed an input, and revive the batch.

        Raises:
            WorkerDied, CallFailed, InputChanged: the subject is a baseline, or the referee failed, which is not a
                candidate's fault.
        """
        if name not in self.results.recorded or self.batch.is_of_referee(error):
            raise error
        log.warning("%s broke the process that timed it: %s", name, error)
        self.batch.drop(name)
        if isinstance(error, InputChanged):
            self.results.fail(name, mutation(error.argument))
        else:
            cause = str(error).partition("\n")[0]
            self.results.fail(name, failure(Phase.CRASH, f"it broke the process that timed it: {cause}"))
        self.batch.revive(error)

    def _stage(self, names: list[str], launches: int, done: int) -> Samples:
        for _ in range(BROKEN_TRIES):
            try:
                return self.batch.with_memory(partial(self._timed, names, launches, done))
            except BROKEN as error:
                log.warning("timing broke (%s): looking for the kernel that breaks it", error)
                broke = error
            self.batch.revive(broke)
            if is_short_of_memory(broke):
                break  # no kernel breaks it: together they need too much
            names = self._without_culprit(names, launches, done, broke)
        log.warning("timing breaks again and again: each alone, so ratios hold what drifts between them")
        return self.one_by_one(names, lambda name: self._warm_and_timed([name], launches, done))

    def _without_culprit(self, names: Sequence[str], launches: int, done: int, broke: Broken) -> list[str]:
        """Find the kernel that breaks the timer, alone or in company, drop it and return the other subjects."""
        error_alone = {name: self._error_of(names=[name], launches=launches, done=done) for name in names}
        for name, error in error_alone.items():
            if error is not None:
                self.drop(name, error)
        good = [name for name, error in error_alone.items() if error is None]
        for name in self.results.recorded if len(good) == len(names) else ():
            others = [subject for subject in good if subject != name]
            if name in good and self._error_of(others, launches, done) is None:
                self.drop(name, broke)
                return others
        return good

    def _error_of(self, names: Sequence[str], launches: int, done: int) -> Broken | None:
        """Warm up and time subjects side by side; return the error, if any, with the batch revived."""
        try:
            self._warm_and_timed(list(names), launches, done)
        except BROKEN as error:
            self.batch.revive(error)
            return error
        return None

    def _warm_and_timed(self, names: list[str], launches: int, done: int) -> Samples:
        self.batch.warm(names, self.warmup)
        return self._timed(names, launches, done)

    def _timed(self, names: list[str], launches: int, done: int) -> Samples:
        """Time subjects side by side, again if heat or a hardware brake spoiled it."""
        for _ in range(SPOILED_TRIES):
            before = self.read_conditions()
            times = self.batch.race(names, launches, done)
            conditions = together([before, self.read_conditions()])
            if not conditions.spoiled:
                break
            log.warning("the device was slowed down (%s): timing again", ", ".join(conditions.throttle))
            time.sleep(1.0)
        self.results.times.conditions.append(conditions)
        return times
