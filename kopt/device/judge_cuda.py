"""The judge on a GPU: verdicts by the referee, times by the timer; a chunk of candidates on one device.

The caller's process becomes the zygote (`kopt.device.zygote`): it must not have used CUDA, and sees one device.

    zygote ─┬─ referee        inputs, answers, comparison; no candidate code
            ├─ contestants    one caged child per candidate: its Python code, on every draw
            └─ timer          replays what the contestants recorded, on fresh inputs, and times it; no candidate code

A candidate passes when its own process gave right outputs on every draw, and the replay of its recorded calls, the
thing that is timed, gives right outputs too: on NaN-filled memory, on inputs that it leaves unchanged, not without its
launches, and in a random timed call.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import Field

from kopt import statistics
from kopt.device.batch import Batch
from kopt.device.bench import Bench
from kopt.device.cage import Limits
from kopt.device.clocks import Clocks, together
from kopt.device.findings import JUDGE, Recorded, failure
from kopt.device.found import Found
from kopt.device.precompiled import Compiled, all_compiled
from kopt.device.trusted import CallFailed
from kopt.device.validity import environment
from kopt.errors import WorkerDied
from kopt.model.base import Value
from kopt.model.build import Built, Phase
from kopt.model.device import Device
from kopt.model.environment import Conditions
from kopt.model.kernel import Kernel
from kopt.model.problem import Dtype, Problem, ProblemFacts, WorkloadFacts
from kopt.model.timing import Finals, Measured, WorkloadTiming, geometric_mean
from kopt.model.verdict import Failed, Passed, Verdict
from kopt.roofline import compute_floor_ms, floor_ms, memory_floor_ms
from kopt.store import Store

log = logging.getLogger(__name__)

INCUMBENT = "incumbent"
LIMITS = Limits(wall_s=90.0)
BASELINES = ("eager", "compile", "max-autotune")
COMPILE_S = 580.0
"""Limit of compiling one baseline, s."""
SPOILED_TRIES = 3
"""How often a batch that heat spoiled is timed again."""


class CudaJob(Value):
    """One kernel to judge."""

    kernel: Kernel
    problem: Problem
    seed: int
    """The run's seed; inputs follow from it and from all kernels of the chunk."""
    build: Built | None = None
    """What the CPU stage made of it, for this device and these versions; if given, nothing else may be launched."""


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


class Final(Value):
    """How a final measurement is made."""

    baselines: tuple[str, ...] = BASELINES
    """`eager`, `compile`, `max-autotune`."""
    warmup: int = 25
    """Untimed calls of each."""
    repeat: int = 100
    """Timed calls of each, over all processes."""
    processes: int = 2
    """Timer processes, one after the other."""


class CudaJudged(Value):
    """What came of one kernel."""

    verdict: Verdict
    timing: Measured | None = None
    """Set when it passed."""
    seconds: dict[str, float] = Field(default_factory=dict)
    """How long each phase of its own process took."""


def judge_all(
    jobs: Sequence[CudaJob],
    *,
    facts: ProblemFacts,
    found: Found,
    workers: int,
    limits: Limits = LIMITS,
    incumbent: CudaJob | None = None,
    race: Race = Race(),  # noqa: B008 - frozen
    store: Store | None = None,
    calibrated: bool = False,
) -> Iterator[tuple[int, CudaJudged]]:
    """Judge a chunk of one problem on the first visible device; yields (index, judged).

    Failures come as soon as they are known, the others when all have raced.

    Args:
        jobs: what to judge; all of one problem and seed.
        facts: the problem's facts, for its floor.
        found: the device, measured.
        workers: contestants at a time; timing is always alone.
        limits: of one contestant.
        incumbent: timed along; ratios are to it.
        race: how long to time.
        store: where the texts lie that the builds name; without one everything is compiled again.
        calibrated: the problem's checks have been proven before (`kopt.device.verify_calibration`).

    Raises:
        DeviceError: there is no usable device, or it broke.
        ProblemError: the problem cannot be judged.
    """
    if not jobs:
        return
    with Bench(jobs[0].problem, seed=jobs[0].seed, workers=workers, limits=limits, calibrated=calibrated) as bench:
        yield from judge_on(bench, jobs, facts=facts, found=found, incumbent=incumbent, race=race, store=store)
    log.info("seconds waited for: %s", {name: round(seconds, 2) for name, seconds in bench.account.items()})


def judge_on(
    bench: Bench,
    jobs: Sequence[CudaJob],
    *,
    facts: ProblemFacts,
    found: Found,
    incumbent: CudaJob | None = None,
    race: Race = Race(),  # noqa: B008 - frozen
    store: Store | None = None,
) -> Iterator[tuple[int, CudaJudged]]:
    """Like `judge_all`, on a bench that stands."""
    kernels = {str(at): job.kernel for at, job in enumerate(jobs)}
    builds = {str(at): job.build for at, job in enumerate(jobs)}
    if incumbent is not None:
        kernels[INCUMBENT], builds[INCUMBENT] = incumbent.kernel, incumbent.build
    compiled = all_compiled(builds, store)
    for name, judged in Judging(bench, facts, found, race, Clocks(found.uuid).read).judge(kernels, compiled):
        yield int(name), judged


def measure_finalists(
    kernels: Mapping[str, Kernel],
    problem: Problem,
    *,
    facts: ProblemFacts,
    found: Found,
    seed: int,
    builds: Mapping[str, Built | None] | None = None,
    store: Store | None = None,
    plan: Final = Final(),  # noqa: B008 - frozen
    workers: int = 2,
    limits: Limits = LIMITS,
) -> Finals:
    """Verify finalists anew and time them with baselines, interleaved, in fresh processes.

    Args:
        kernels: finalists by name, the incumbent among them.
        problem: their problem.
        facts: its facts.
        found: the device, measured.
        seed: of the verification's inputs: another one than the search's.
        builds: what the CPU stage made of them, by name, as far as it is known.
        store: where compiled texts lie; without one everything is compiled again.
        plan: how long to time, and beside what.
        workers: contestants at a time; timing is always alone.
        limits: of one contestant.

    Raises:
        DeviceError, ProblemError: as for `judge_all`.
    """
    with Bench(problem, seed=seed, workers=workers, limits=limits, calibrated=True) as bench:
        race = Race(warmup=plan.warmup, repeat=plan.repeat)
        judging = Judging(bench, facts, found, race, Clocks(found.uuid).read)
        for name, heard in bench.verify(kernels, all_compiled(builds or {}, store)) if kernels else ():
            judging.take(name, heard)
        for turn in range(plan.processes):
            judging.final(turn, -(-plan.repeat // plan.processes), plan.baselines)
        finals = judging.finals()
    log.info("seconds waited for: %s", {name: round(seconds, 2) for name, seconds in bench.account.items()})
    return finals


@dataclass
class Judging:
    """The course of one chunk."""

    bench: Bench
    facts: ProblemFacts
    found: Found
    plan: Race
    state: Callable[[], Conditions]
    """Reads the device's state."""
    recorded: dict[str, Recorded] = field(default_factory=dict)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    samples: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """Milliseconds by workload and name."""
    conditions: list[Conditions] = field(default_factory=list)
    wall_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    """By name and workload."""

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
        """One fresh process of the final measurement."""
        batch = self.bench.begin_timing(self.found.device.memory_bytes, seed=1000 + turn)
        for name in list(self.recorded):
            self._admit(batch, name)
        for name in baselines:
            batch.add_baseline(name, COMPILE_S)
        names = [*self.recorded, *baselines]
        if names:
            self._warm(batch, names)
            self._add(self._timed(batch, [name for name in names if name not in self.verdicts], launches, 0))
            self._verify_kept(batch)
        self.bench.end_timing()

    def finals(self) -> Finals:
        """Everything timed to the end, and the verdicts."""
        timed = sorted({name for times in self.samples.values() for name in times} - set(self.verdicts))
        verdicts = {name: self._verdict(name) for name in (*self.recorded, *self.verdicts)}
        return Finals(timings={name: self._measured(name) for name in timed}, verdicts=verdicts)

    # --- the race -----------------------------------------------------------------------------------------------------

    def _race(self) -> None:
        batch = self.bench.begin_timing(self.found.device.memory_bytes, seed=0)
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
            self._add(self._stage(batch, running, launches, done))
            done += launches
            self._verify_kept(batch)
            running = self._who_stays(running)
        self.bench.end_timing()

    def _warm(self, batch: Batch, names: Sequence[str]) -> None:
        """Warm up each by itself, so that one that breaks the timer is known."""
        for name in names:
            try:
                batch.warm([name], self.plan.warmup)
                self.wall_ms[name] = batch.wall_ms(name)
            except (WorkerDied, CallFailed):
                batch.drop(name)
                self._fail(name, failure(Phase.CRASH, "it broke the process that timed it"))
                batch.revive()

    def _admit(self, batch: Batch, name: str) -> None:
        wrong = batch.admit(name, self.recorded[name])
        if wrong is not None:
            self._fail(name, wrong)

    def _stage(self, batch: Batch, names: list[str], launches: int, done: int) -> dict[str, dict[str, list[float]]]:
        """One stage; if it breaks, each subject alone, to find who broke it."""
        try:
            return self._timed(batch, names, launches, done)
        except (WorkerDied, CallFailed) as error:
            log.warning("timing broke (%s): each candidate alone", error)
        for name in names:
            try:
                batch.revive()
                self._timed(batch, [name], launches, done)
            except (WorkerDied, CallFailed):
                batch.drop(name)
                self._fail(name, failure(Phase.CRASH, "it broke the process that timed it"))
        batch.revive()
        return self._timed(batch, [name for name in names if name in self.recorded], launches, done)

    def _timed(self, batch: Batch, names: list[str], launches: int, done: int) -> dict[str, dict[str, list[float]]]:
        for _ in range(SPOILED_TRIES):
            before = self.state()
            times = batch.race(names, launches, done)
            conditions = together([before, self.state()])
            if not conditions.spoiled:
                break
            log.warning("the device was slowed down (%s): timing again", ", ".join(conditions.throttle))
            time.sleep(1.0)
        self.conditions.append(conditions)
        return times

    def _add(self, times: Mapping[str, Mapping[str, list[float]]]) -> None:
        for workload, by_name in times.items():
            mine = self.samples.setdefault(workload, {})
            for name, values in by_name.items():
                mine.setdefault(name, []).extend(values)

    def _verify_kept(self, batch: Batch) -> None:
        for name in list(self.recorded):
            wrong = batch.kept_is_right(name)
            if wrong is not None:
                self._fail(name, wrong)

    def _who_stays(self, running: Sequence[str]) -> list[str]:
        combined = {name: self._combined(name) for name in running if name in self.recorded}
        racing = {name: values for name, values in combined.items() if name != INCUMBENT}
        staying = list(statistics.survivors(racing, keep=self.plan.keep)) if racing else []
        return [INCUMBENT] * (INCUMBENT in combined) + staying

    def _combined(self, name: str) -> list[float]:
        """One time per position: the geometric mean over the workloads."""
        columns = zip(*(by_name[name] for by_name in self.samples.values()), strict=True)
        return [geometric_mean(list(column)) for column in columns]

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
        timing, seconds = self._measured(name), dict(self.recorded[name].seconds)
        floored = self._under_floor(timing)
        if floored is not None:
            return CudaJudged(verdict=floored, seconds=seconds)
        return CudaJudged(verdict=self._verdict(name), timing=timing, seconds=seconds)

    def _under_floor(self, timing: Measured) -> Failed | None:
        """The verdict on a time that no device can reach; None when it can."""
        for one, facts in zip(timing.workloads, self.facts.workloads, strict=True):
            least = _least_ms(facts, self.found.device, self.facts.dtype)
            if one.median_ms <= least:
                return failure(
                    Phase.ROOFLINE,
                    f"{one.median_ms:.4f} ms on {one.workload} is at or under {least:.4f} ms, which bytes and "
                    "operations of the problem take at this device's measured rates: the work was not done",
                )
        return None

    def _measured(self, name: str) -> Measured:
        return Measured(
            device=self.found.device.name,
            workloads=tuple(self._workload(name, at) for at in range(len(self.facts.workloads))),
            environment=environment(self.found.device.name, self.found.uuid, self.found.driver),
            conditions=tuple(self.conditions),
        )

    def _workload(self, name: str, at: int) -> WorkloadTiming:
        facts = self.facts.workloads[at]
        samples = self.samples[facts.workload]
        middle, low, high = statistics.median_interval(samples[name])
        ratio = None
        if INCUMBENT in samples and name != INCUMBENT:
            ratio = statistics.ratio_interval(samples[name], samples[INCUMBENT])
        return WorkloadTiming(
            workload=facts.workload,
            median_ms=middle,
            low_ms=low,
            high_ms=high,
            samples_ms=tuple(samples[name]),
            floor_ms=floor_ms(facts, self.found.device, self.facts.dtype),
            wall_ms=self.wall_ms.get(name, {}).get(facts.workload),
            ratio=ratio.middle if ratio else None,
            ratio_low=ratio.low if ratio else None,
            ratio_high=ratio.high if ratio else None,
        )


def _least_ms(facts: WorkloadFacts, device: Device, dtype: Dtype) -> float:
    """The roofline floor with the output left out as far as the L2 cache can hold it: it is written back later."""
    in_cache = min(facts.output.bytes, device.l2_bytes) / facts.bytes
    return max(memory_floor_ms(facts, device) * (1.0 - in_cache), compute_floor_ms(facts, device, dtype))
