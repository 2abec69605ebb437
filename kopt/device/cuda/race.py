"""The course of a chunk: who is verified, who races whom and for how long, who is dropped, and what is said of each."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import Field

from kopt import statistics
from kopt.device.build.precompiled import Compiled
from kopt.device.cuda.batch import InputChanged, TimedBatch
from kopt.device.cuda.bench import JudgeProcesses
from kopt.device.cuda.times import INCUMBENT, Times
from kopt.device.cuda.verdicts import JUDGE, Recorded, Samples, failure, mutation
from kopt.device.hardware.nvml import together
from kopt.errors import WorkerDied
from kopt.model.base import Value
from kopt.model.build import Phase
from kopt.model.environment import Conditions
from kopt.model.kernel import Kernel
from kopt.model.timing import Finals, Measured
from kopt.model.verdict import Passed, Verdict
from kopt.sandbox.service import CallFailed

log = logging.getLogger(__name__)

COMPILE_S = 580.0
"""Limit of compiling one baseline, s."""
SPOILED_TRIES = 3
"""How often a batch that heat spoiled is timed again."""
UNSEEN_TRIES = 5
"""How often somebody who is slow on new inputs gets new inputs."""
Broken = WorkerDied | CallFailed | InputChanged
BROKEN = (WorkerDied, CallFailed, InputChanged)
"""What a batch raises when a subject broke something."""
BROKEN_TRIES = 3
"""How often who breaks a stage is looked for."""


class Race(Value):
    """How long candidates are timed."""

    first: int = 5
    """Launches of the first stage."""
    repeat: int = 100
    """Launches of those that stay to the end."""
    warmup: int = 3
    """Untimed launches of every subject."""
    keep: int = 4
    """Candidates that are timed to the end."""


class JudgedKernel(Value):
    """What came of one kernel."""

    verdict: Verdict
    timing: Measured | None = None
    """Set when it passed."""
    seconds: dict[str, float] = Field(default_factory=dict)
    """How long each phase of its own process took."""


@dataclass
class ChunkRace:
    """The course of one chunk."""

    bench: JudgeProcesses
    times: Times
    plan: Race
    state: Callable[[], Conditions]
    """Reads the device's state."""
    recorded: dict[str, Recorded] = field(default_factory=dict)
    verdicts: dict[str, Verdict] = field(default_factory=dict)

    def judge(
        self, kernels: Mapping[str, Kernel], compiled: Mapping[str, Compiled]
    ) -> Iterator[tuple[str, JudgedKernel]]:
        """Verify, race, and say what came of each."""
        for name, heard in self.bench.verify(kernels, compiled).items():
            self.take(name, heard)
            if name in self.verdicts and name == INCUMBENT:
                log.warning("the incumbent did not pass: no ratios (%s)", self.verdicts[name])
            elif name in self.verdicts:
                yield name, JudgedKernel(verdict=self.verdicts[name])
        early = set(self.verdicts)
        if self.recorded:
            self._race()
        for name in kernels:
            if name not in early and name != INCUMBENT:
                yield name, self._judged(name)

    def take(self, name: str, heard: Recorded | Verdict) -> None:
        """Note what verification came to."""
        if isinstance(heard, Recorded):
            self.recorded[name] = heard
        else:
            self.verdicts[name] = heard

    def final(self, turn: int, launches: int, baselines: Sequence[str]) -> None:
        """One fresh process of the final measurement; turns count from 0."""
        batch = self.bench.begin_timing(self.times.found.device.memory_bytes, turn=turn)
        for name in list(self.recorded):
            self._admit(batch, name)
        for name in baselines:
            batch.add_baseline(name, COMPILE_S)
        names = [*self.recorded, *baselines]
        if names:
            self._warm(batch, names)
            self.times.add(self._stage(batch, [name for name in names if name not in self.verdicts], launches, 0))
            self.times.processes = turn + 1
            self._verify_kept(batch, list(self.recorded))
            self._time_unseen(batch, list(self.recorded))
        self.bench.end_timing()

    def finals(self) -> Finals:
        """Everything timed to the end, and the verdicts."""
        self._refuse_reuse()
        timings = {name: self.times.measured(name) for name in self.times.names() if name not in self.verdicts}
        for name in list(self.recorded):
            floored = self.times.under_floor(timings[name])
            if floored is not None:
                self._fail(name, floored)
                del timings[name]
        verdicts = {name: self._verdict(name) for name in (*self.recorded, *self.verdicts)}
        return Finals(timings=timings, verdicts=verdicts)

    # --- the race -----------------------------------------------------------------------------------------------------

    def _race(self) -> None:
        batch = self.bench.begin_timing(self.times.found.device.memory_bytes, turn=0)
        for name in list(self.recorded):
            self._admit(batch, name)
        running, done = list(self.recorded), 0
        for launches in statistics.stages(self.plan.first, self.plan.repeat):
            running = [name for name in running if name in self.recorded]
            if not set(running) - {INCUMBENT}:
                break
            if done == 0:
                self._warm(batch, running)
                running = [name for name in running if name in self.recorded]
            self.times.add(self._stage(batch, running, launches, done))
            done += launches
            self._verify_kept(batch, list(self.recorded))
            running = self._who_stays(running)
        timed = set(self.times.names())
        self._time_unseen(batch, [name for name in running if name in self.recorded and name in timed])
        self._refuse_reuse()
        self.bench.end_timing()

    def _warm(self, batch: TimedBatch, names: Sequence[str]) -> None:
        """Warm up each by itself, so that one that breaks the timer is known."""
        for name in names:
            try:
                batch.warm([name], self.plan.warmup)
                self.times.wall_ms[name] = batch.wall_ms(name)
            except BROKEN as error:
                self._drop(batch, name, error)

    def _admit(self, batch: TimedBatch, name: str) -> None:
        wrong = batch.admit(name, self.recorded[name])
        if wrong is not None:
            self._fail(name, wrong)

    def _stage(self, batch: TimedBatch, names: list[str], launches: int, done: int) -> Samples:
        """One stage; if it breaks, without who breaks it."""
        for _ in range(BROKEN_TRIES):
            try:
                return self._timed(batch, names, launches, done)
            except BROKEN as error:
                log.warning("timing broke (%s): looking for who breaks it", error)
                broke = error
            batch.revive()
            names = self._unbroken(batch, names, launches, done, broke)
        return self._one_by_one(batch, names, launches, done)

    def _unbroken(self, batch: TimedBatch, names: Sequence[str], launches: int, done: int, broke: Broken) -> list[str]:
        """Those that do not break alone; if nobody does, all but the one without whom nothing breaks."""
        alone = {name: self._breaks(batch, [name], launches, done) for name in names}
        for name, error in alone.items():
            if error is not None:
                self._drop(batch, name, error)
        good = [name for name, error in alone.items() if error is None]
        for name in self.recorded if len(good) == len(names) else ():
            others = [other for other in good if other != name]
            if name in good and self._breaks(batch, others, launches, done) is None:
                self._drop(batch, name, broke)
                return others
        return good

    def _breaks(self, batch: TimedBatch, names: Sequence[str], launches: int, done: int) -> Broken | None:
        """What breaks when these are timed side by side, after a warm-up; the batch is whole again."""
        try:
            batch.warm(names, self.plan.warmup)
            self._timed(batch, list(names), launches, done)
        except BROKEN as error:
            batch.revive()
            return error
        return None

    def _one_by_one(self, batch: TimedBatch, names: Sequence[str], launches: int, done: int) -> Samples:
        """Each timed alone, for what cannot be timed side by side; who breaks even so is dropped."""
        log.warning("timing breaks again and again: each alone, so ratios hold what drifts between them")
        times: Samples = {}
        for name in names:
            try:
                batch.warm([name], self.plan.warmup)
                mine = self._timed(batch, [name], launches, done)
            except BROKEN as error:
                self._drop(batch, name, error)
                continue
            for workload, by_name in mine.items():
                times.setdefault(workload, {}).update(by_name)
        return times

    def _drop(self, batch: TimedBatch, name: str, error: Broken) -> None:
        """A candidate broke the timer, or an input; a baseline that does is our fault.  The batch is whole again."""
        if name not in self.recorded:
            raise error
        batch.drop(name)
        if isinstance(error, InputChanged):
            self._fail(name, mutation(error.argument))
        else:
            self._fail(name, failure(Phase.CRASH, "it broke the process that timed it"))
        batch.revive()

    def _time_unseen(self, batch: TimedBatch, names: Sequence[str]) -> None:
        """Each again on inputs that nobody has been called with before; and again, if it is slow there."""
        for name in names:
            for _ in range(UNSEEN_TRIES):
                try:
                    self.times.add_unseen(batch.race_unseen(name))
                except BROKEN as error:
                    self._drop(batch, name, error)
                    break
                self._verify_kept(batch, [name])
                if name in self.verdicts or self.times.reused(name) is None:
                    break

    def _refuse_reuse(self) -> None:
        log.info("times on new inputs, over those on known ones: %s", self.times.unseen_shares())
        for name in list(self.recorded):
            wrong = self.times.reused(name)
            if wrong is not None:
                self._fail(name, wrong)

    def _timed(self, batch: TimedBatch, names: list[str], launches: int, done: int) -> Samples:
        for _ in range(SPOILED_TRIES):
            before = self.state()
            times = batch.race(names, launches, done)
            conditions = together([before, self.state()])
            if not conditions.spoiled:
                break
            log.warning("the device was slowed down (%s): timing again", ", ".join(conditions.throttle))
            time.sleep(1.0)
        self.times.conditions.append(conditions)
        return times

    def _verify_kept(self, batch: TimedBatch, names: Sequence[str]) -> None:
        for name in names:
            try:
                wrong = batch.verify_kept_output(name)
            except CallFailed as error:
                self._drop(batch, name, error)
                continue
            if wrong is not None:
                self._fail(name, wrong)

    def _who_stays(self, running: Sequence[str]) -> list[str]:
        combined = {name: self.times.combined(name) for name in running if name in self.recorded}
        racing = {name: values for name, values in combined.items() if name != INCUMBENT}
        staying = list(statistics.survivors(racing, keep=self.plan.keep)) if racing else []
        return [INCUMBENT] * (INCUMBENT in combined) + staying

    # --- what came of it ----------------------------------------------------------------------------------------------

    def _fail(self, name: str, verdict: Verdict) -> None:
        self.recorded.pop(name, None)
        self.verdicts[name] = verdict
        if name == INCUMBENT:
            self.times.forget(name)

    def _verdict(self, name: str) -> Verdict:
        known = self.verdicts.get(name)
        return known or Passed(judge=JUDGE, checks=self.recorded[name].checks)

    def _judged(self, name: str) -> JudgedKernel:
        if name in self.verdicts:
            return JudgedKernel(verdict=self.verdicts[name])
        timing, seconds = self.times.measured(name), dict(self.recorded[name].seconds)
        floored = self.times.under_floor(timing)
        if floored is not None:
            return JudgedKernel(verdict=floored, seconds=seconds)
        return JudgedKernel(verdict=self._verdict(name), timing=timing, seconds=seconds)
