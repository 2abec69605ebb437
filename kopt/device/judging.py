"""The course of a chunk: who is verified, who races whom and for how long, who is dropped, and what is said of each."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import Field

from kopt import statistics
from kopt.device.batch import Batch
from kopt.device.bench import Bench
from kopt.device.clocks import together
from kopt.device.findings import JUDGE, Recorded, failure
from kopt.device.precompiled import Compiled
from kopt.device.times import INCUMBENT, Times
from kopt.device.trusted import CallFailed
from kopt.errors import DeviceError, WorkerDied
from kopt.model.base import Value
from kopt.model.build import Phase
from kopt.model.environment import Conditions
from kopt.model.kernel import Kernel
from kopt.model.timing import Finals, Measured
from kopt.model.verdict import Passed, Verdict

log = logging.getLogger(__name__)

COMPILE_S = 580.0
"""Limit of compiling one baseline, s."""
SPOILED_TRIES = 3
"""How often a batch that heat spoiled is timed again."""
UNSEEN_TRIES = 3
"""How often somebody who is slow on new inputs gets new inputs."""
BROKEN_TRIES = 2
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


class CudaJudged(Value):
    """What came of one kernel."""

    verdict: Verdict
    timing: Measured | None = None
    """Set when it passed."""
    seconds: dict[str, float] = Field(default_factory=dict)
    """How long each phase of its own process took."""


@dataclass
class Judging:
    """The course of one chunk."""

    bench: Bench
    times: Times
    plan: Race
    state: Callable[[], Conditions]
    """Reads the device's state."""
    recorded: dict[str, Recorded] = field(default_factory=dict)
    verdicts: dict[str, Verdict] = field(default_factory=dict)

    def judge(
        self, kernels: Mapping[str, Kernel], compiled: Mapping[str, Compiled]
    ) -> Iterator[tuple[str, CudaJudged]]:
        """Verify, race, and say what came of each."""
        for name, heard in self.bench.verify(kernels, compiled):
            self.take(name, heard)
            if name in self.verdicts and name == INCUMBENT:
                log.warning("the incumbent did not pass: no ratios (%s)", self.verdicts[name])
            elif name in self.verdicts:
                yield name, CudaJudged(verdict=self.verdicts[name])
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
        batch = self.bench.begin_timing(self.times.found.device.memory_bytes, seed=1000 + turn)
        for name in list(self.recorded):
            self._admit(batch, name)
        for name in baselines:
            batch.add_baseline(name, COMPILE_S)
        names = [*self.recorded, *baselines]
        if names:
            self._warm(batch, names)
            self.times.add(self._stage(batch, [name for name in names if name not in self.verdicts], launches, 0))
            self.times.processes = turn + 1
            self._verify_kept(batch)
            self._time_unseen(batch, [name for name in names if name not in self.verdicts])
        self.bench.end_timing()

    def finals(self) -> Finals:
        """Everything timed to the end, and the verdicts."""
        self._refuse_reuse()
        timed = [name for name in self.times.names() if name not in self.verdicts]
        verdicts = {name: self._verdict(name) for name in (*self.recorded, *self.verdicts)}
        return Finals(timings={name: self.times.measured(name) for name in timed}, verdicts=verdicts)

    # --- the race -----------------------------------------------------------------------------------------------------

    def _race(self) -> None:
        batch = self.bench.begin_timing(self.times.found.device.memory_bytes, seed=0)
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
            self._verify_kept(batch)
            running = self._who_stays(running)
        timed = [name for name in self.times.names() if name in self.recorded]
        if timed:
            self._time_unseen(batch, timed)
            self._refuse_reuse()
        self.bench.end_timing()

    def _warm(self, batch: Batch, names: Sequence[str]) -> None:
        """Warm up each by itself, so that one that breaks the timer is known."""
        for name in names:
            try:
                batch.warm([name], self.plan.warmup)
                self.times.wall_ms[name] = batch.wall_ms(name)
            except (WorkerDied, CallFailed) as error:
                self._drop(batch, name, error)
                batch.revive()

    def _admit(self, batch: Batch, name: str) -> None:
        wrong = batch.admit(name, self.recorded[name])
        if wrong is not None:
            self._fail(name, wrong)

    def _stage(self, batch: Batch, names: list[str], launches: int, done: int) -> dict[str, dict[str, list[float]]]:
        """One stage; if it breaks, with one subject more at a time, to find who breaks it."""
        for _ in range(BROKEN_TRIES):
            try:
                return self._timed(batch, names, launches, done)
            except (WorkerDied, CallFailed) as error:
                log.warning("timing broke (%s): the candidates one after the other", error)
            names = self._unbroken(batch, names, launches, done)
        return self._timed(batch, names, launches, done)

    def _unbroken(self, batch: Batch, names: Sequence[str], launches: int, done: int) -> list[str]:
        """Those that can be timed side by side without breaking anything, in a timer that is warm."""
        good: list[str] = []
        batch.revive()
        for name in names:
            try:
                batch.warm([name], self.plan.warmup)
                self._timed(batch, [*good, name], launches, done)
                good.append(name)
            except (WorkerDied, CallFailed) as error:
                self._drop(batch, name, error)
                batch.revive()
                batch.warm(good, self.plan.warmup)
        return good

    def _drop(self, batch: Batch, name: str, error: DeviceError | WorkerDied) -> None:
        """A candidate broke the timer; a baseline that does is our fault."""
        if name not in self.recorded:
            raise error
        batch.drop(name)
        self._fail(name, failure(Phase.CRASH, "it broke the process that timed it"))

    def _time_unseen(self, batch: Batch, names: list[str]) -> None:
        """Everybody again on inputs that nobody has been called with before; and again, if that slows anybody."""
        for _ in range(UNSEEN_TRIES):
            try:
                times = batch.race_unseen(names)
            except (WorkerDied, CallFailed) as error:
                log.warning("timing on new inputs broke (%s): once more", error)
                names = self._unbroken(batch, names, 1, 0)
                times = batch.race_unseen(names)
            self.times.add_unseen(times)
            self._verify_kept(batch)
            names = [name for name in names if name not in self.verdicts]
            if not any(self.times.reused(name) for name in names):
                break

    def _refuse_reuse(self) -> None:
        log.info("times on new inputs, over those on known ones: %s", self.times.unseen_shares())
        for name in list(self.recorded):
            wrong = self.times.reused(name)
            if wrong is not None:
                self._fail(name, wrong)

    def _timed(self, batch: Batch, names: list[str], launches: int, done: int) -> dict[str, dict[str, list[float]]]:
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

    def _verify_kept(self, batch: Batch) -> None:
        for name in list(self.recorded):
            wrong = batch.kept_is_right(name)
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

    def _verdict(self, name: str) -> Verdict:
        known = self.verdicts.get(name)
        return known or Passed(judge=JUDGE, checks=self.recorded[name].checks)

    def _judged(self, name: str) -> CudaJudged:
        if name in self.verdicts:
            return CudaJudged(verdict=self.verdicts[name])
        timing, seconds = self.times.measured(name), dict(self.recorded[name].seconds)
        floored = self.times.under_floor(timing)
        if floored is not None:
            return CudaJudged(verdict=floored, seconds=seconds)
        return CudaJudged(verdict=self._verdict(name), timing=timing, seconds=seconds)
