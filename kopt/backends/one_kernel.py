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


def further(request: EvaluateRequest, device: Device, store: Path) -> None:
    """Compile the kernel for the workloads beside the main ones, so that a GPU is not held for that."""
    from kopt.backends.further_kernels import keep_further
    from kopt.backends.problem_facts import facts_of
    from kopt.jobs.target import ProblemOnTarget
    from kopt.store import Store

    kept = Store(store)
    target = ProblemOnTarget(request.problem, facts_of(request.problem, kept), device, kept)
    keep_further([request.kernel], target, workers=1, seconds=request.build_seconds)


def race(
    request: EvaluateRequest, built: Built, device: Device, store: Path
) -> tuple[JudgedKernel, JudgedKernel | None]:
    """Judge the kernel and, where there is one, the seed kernel side by side, on a GPU that is leased for it.

    Args:
        request: the kernel, and the limits.
        built: its build.
        device: the GPU that the kernel was built for.
        store: folder of the store.
    """
    from kopt.backends.problem_facts import facts_of
    from kopt.device.cuda.judge import LIMITS, CudaJob, ProblemOnDevice, judge_all
    from kopt.device.cuda.race import Race
    from kopt.device.hardware.zygote import check_unused, load_triton
    from kopt.jobs.builds import known_further
    from kopt.jobs.on_gpu import check_same, leased
    from kopt.store import Store

    check_unused()  # before torch traces facts, since a fork loses the threads that tracing starts
    load_triton()
    problem, kept = request.problem, Store(store)
    more = known_further(request.kernel, problem, device, kept)
    jobs = [CudaJob(kernel=request.kernel, problem=problem, seed=request.seed, build=built, further=more)]
    if problem.has_seed:
        jobs.append(CudaJob(kernel=problem.seed, problem=problem, seed=request.seed))
    facts, limits = facts_of(problem, kept), replace(LIMITS, wall_s=request.judge_seconds)
    with leased(kept, wait_s=request.wait_s, like=device) as gpu:
        check_same(gpu, device)
        context, times = ProblemOnDevice(facts, gpu, kept), Race(repeat=request.repeat)
        judged = dict(judge_all(jobs, context, workers=len(jobs), limits=limits, race=times))
    return judged[0], judged.get(1)
