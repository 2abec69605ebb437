"""Take the steps of evaluating one kernel, each in a process of its own, which imports no more than its step needs.

The compiler must not see a GPU, the interpreter changes Triton for good, and the judge on a GPU must find CUDA unused.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kopt.model.base import Value
from kopt.model.build import Build, Built
from kopt.model.device import Device
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem
from kopt.model.timing import Estimated
from kopt.model.verdict import Verdict

if TYPE_CHECKING:
    from kopt.device.cuda.race import JudgedKernel
    from kopt.device.hardware.measured import MeasuredDevice


class EvaluateRequest(Value):
    """The kernel to evaluate, and the limits."""

    kernel: Kernel
    problem: Problem
    seed: int
    """Verification inputs follow from it."""
    build_seconds: float
    """Limit of tracing and compiling one kernel, s."""
    judge_seconds: float
    """Limit of verifying one kernel, s."""
    repeat: int
    """Timed calls on a GPU."""
    wait_s: float
    """Longest wait for a GPU, s."""


def build(request: EvaluateRequest, kernels: Sequence[Kernel], device: Device, store: Path) -> list[Build]:
    """Build kernels, and keep PTX and cubins in a store."""
    from kopt.backends.triton_builder import build_with_triton
    from kopt.store import Store

    build_all = build_with_triton(
        request.problem, device, Store(store), workers=len(kernels), seconds=request.build_seconds
    )
    builds = build_all(kernels)
    return [builds[index] for index in range(len(kernels))]


def build_and_estimate(
    request: EvaluateRequest, device: Device, store: Path
) -> tuple[Build, Estimated | None, Estimated | None]:
    """Return the kernel's build, its estimated time, and the seed kernel's where there is one."""
    from kopt.backends.problem_facts import facts_of
    from kopt.device.reference.trial import slow_small
    from kopt.estimate.kernel_time import estimate
    from kopt.store import Store

    if warning := slow_small(request.problem):
        print(f"kopt: warning: {warning}", file=sys.stderr, flush=True)
    seed = [request.problem.seed] if request.problem.has_seed else []
    builds = build(request, [request.kernel, *seed], device, store)
    facts = facts_of(request.problem, Store(store))
    times = [
        estimate(built, facts, device, lambda name: Store(store).text("ptx", name, ".ptx"))
        if isinstance(built, Built) else None
        for built in builds
    ]  # fmt: skip
    return builds[0], times[0], times[1] if seed else None


def interpret(request: EvaluateRequest) -> Verdict:
    """Judge the kernel by kopt's interpreter on the small workloads."""
    from kopt.device.interpret.contestant import VerifyJob
    from kopt.device.interpret.judge import verify_all
    from kopt.sandbox.cage import Limits

    job = VerifyJob(kernel=request.kernel, problem=request.problem, seed=request.seed)
    ((_, verdict),) = verify_all([job], workers=1, limits=Limits(wall_s=request.judge_seconds))
    return verdict


def race(
    request: EvaluateRequest, built: Built, gpu: MeasuredDevice, store: Path
) -> tuple[JudgedKernel, JudgedKernel | None]:
    """Judge the kernel and, where there is one, the seed kernel side by side."""
    from kopt.backends.problem_facts import facts_of
    from kopt.device.cuda.judge import LIMITS, CudaJob, ProblemOnDevice, judge_all
    from kopt.device.cuda.race import Race
    from kopt.device.hardware.zygote import warm
    from kopt.store import Store

    warm()  # before torch traces facts, since a fork loses the threads that tracing starts
    jobs = [CudaJob(kernel=request.kernel, problem=request.problem, seed=request.seed, build=built)]
    if request.problem.has_seed:
        jobs.append(CudaJob(kernel=request.problem.seed, problem=request.problem, seed=request.seed))
    problem = ProblemOnDevice(facts_of(request.problem, Store(store)), gpu, Store(store))
    limits = replace(LIMITS, wall_s=request.judge_seconds)
    judged = dict(judge_all(jobs, problem, workers=len(jobs), limits=limits, race=Race(repeat=request.repeat)))
    return judged[0], judged.get(1)
