"""Run the corpus through its layers: the CPU stage, and judges without and with a GPU.

Each function runs in a process of its own (`kopt.sandbox.fresh`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kopt.commands.parts.corpus import Entry, Judgement
from kopt.model.build import Build, Built
from kopt.model.device import Device
from kopt.model.verdict import Passed
from kopt.store import Store

if TYPE_CHECKING:
    from kopt.device.hardware.measured import MeasuredDevice


def build_by_cpu(
    entries: Sequence[Entry], device: Device, store: Path, workers: int, wall_s: float
) -> dict[int, Build]:
    """Build every candidate, by place."""
    from kopt.device.build.build import LIMITS, BuildJob, build_all

    jobs = [BuildJob(kernel=entry.kernel, problem=entry.problem, device=device) for entry in entries]
    return dict(build_all(jobs, store=Store(store), workers=workers, limits=replace(LIMITS, wall_s=wall_s)))


def judge_by_interpreter(entries: Sequence[Entry], workers: int, wall_s: float, seed: int) -> dict[int, Judgement]:
    """Verify every candidate in kopt's interpreter, by place."""
    from kopt.device.interpret.contestant import VerifyJob
    from kopt.device.interpret.judge import verify_all
    from kopt.sandbox.cage import Limits

    jobs = [VerifyJob(kernel=entry.kernel, problem=entry.problem, seed=seed) for entry in entries]
    limits = Limits(wall_s=wall_s)
    return {index: Judgement(verdict) for index, verdict in verify_all(jobs, workers=workers, limits=limits)}


def judge_by_work(
    entries: Sequence[Entry], builds: Mapping[int, Build], judged: Mapping[int, Judgement], device: Device, store: Path
) -> dict[int, Judgement]:
    """Refuse kernels that passed the interpreter but leave work out at full size, where nothing runs without a GPU."""
    from kopt.device.facts.facts import problem_facts
    from kopt.estimate.full_size.work_shares import undone_work
    from kopt.estimate.kernel_time import estimate

    texts, judgements = Store(store), dict(judged)
    problems = {entry.problem.name: entry.problem for entry in entries}
    facts = {name: problem_facts(problem) for name, problem in problems.items()}
    for place, build in builds.items():
        if isinstance(build, Built) and isinstance(judged[place].verdict, Passed):
            name, judge = entries[place].problem.name, judged[place].verdict.judge
            timing = estimate(build, facts[name], device, lambda digest: texts.text("ptx", digest, ".ptx"))
            undone = undone_work(timing, None, judge)
            judgements[place] = Judgement(undone) if undone else judged[place]
    return judgements


def judge_by_cuda(
    entries: Sequence[Entry], workers: int, wall_s: float, seed: int, gpu: MeasuredDevice
) -> dict[int, Judgement]:
    """Judge on the first visible GPU, problem by problem, racing every candidate against the problem's seed kernel."""
    from kopt.device.cuda.judge import LIMITS, CudaJob, ProblemOnDevice, judge_all
    from kopt.device.cuda.race import Race
    from kopt.device.facts.facts import problem_facts
    from kopt.device.hardware.zygote import warm

    warm()  # before torch traces facts, since a fork loses the threads that tracing starts
    judged = {}
    for name in sorted({entry.problem.name for entry in entries}):
        places = [place for place, entry in enumerate(entries) if entry.problem.name == name]
        jobs = [CudaJob(kernel=entries[place].kernel, problem=entries[place].problem, seed=seed) for place in places]
        problem = jobs[0].problem
        for index, kernel in judge_all(
            jobs, ProblemOnDevice(problem_facts(problem), gpu), workers=workers, limits=replace(LIMITS, wall_s=wall_s),
            incumbent=CudaJob(kernel=problem.seed, problem=problem, seed=seed), race=Race(repeat=10, keep=len(jobs)),
            calibrated=True,
        ):  # fmt: skip
            judged[places[index]] = Judgement(kernel.verdict, kernel.timing.ratio if kernel.timing else None)
    return judged
