"""Evaluate one kernel: build it, verify it, and time it beside the seed kernel, or estimate its time without a GPU.

Each step runs in a process of its own: the compiler must not see a GPU, the interpreter changes Triton for good, and
the judge on a GPU must find CUDA unused.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kopt.backends.problem_facts import facts_of
from kopt.backends.triton_builder import build_with_triton
from kopt.commands.parts.arguments import DEFAULTS, ROOT, uses_gpu
from kopt.commands.parts.evaluation import Evaluated, Time, estimated_time, measured_time
from kopt.estimate.full_size.work_shares import undone_work
from kopt.jobs.builds import toolchain
from kopt.jobs.on_gpu import check_same, leased
from kopt.load_config import load_device
from kopt.model.base import Value
from kopt.model.build import Build, BuildFailed, Built
from kopt.model.device import Device
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem
from kopt.model.timing import Estimated
from kopt.model.verdict import Failed, Passed, Verdict
from kopt.sandbox.environment import NO_GPU
from kopt.sandbox.fresh import run_in_fresh_process, run_with_environment
from kopt.store import Store

if TYPE_CHECKING:
    from kopt.device.cuda.race import JudgedKernel
    from kopt.device.hardware.measured import MeasuredDevice

START_S = 60.0
"""Most time of a fresh process beside the limits of its work, s: imports, facts, expected outputs; generous."""
RACE_S = 240.0
"""Longest wait for inputs, expected outputs and timing of two kernels on a GPU, beside the limits of verifying, s."""


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


def request_for(
    source: str, problem: Problem, *, seed: int, wait_s: float, repeat: int = DEFAULTS.benchmark_repeat
) -> EvaluateRequest:
    """Return the request to evaluate a source as a kernel of a problem, under the limits of a search."""
    limits = DEFAULTS.limits
    return EvaluateRequest(
        kernel=problem.seed.with_source(source), problem=problem, seed=seed, wait_s=wait_s, repeat=repeat,
        build_seconds=limits.build_seconds, judge_seconds=limits.judge_seconds,
    )  # fmt: skip


def evaluate(request: EvaluateRequest, judge: str, device: str | None, store: Store) -> Evaluated:
    """Evaluate a kernel by the judge that a command line names.

    Args:
        request: the kernel to evaluate, and the limits.
        judge: `auto`, `interpret` or `cuda`.
        device: a file in config/devices: what to estimate for, or what the GPU must be like; None: the default device,
            and any GPU.
        store: keeps PTX, cubin and the GPU's measured rates.

    Raises:
        ConfigError, DeviceError, ProblemError, WorkerDied: as for the functions below, and there is no such device.
    """
    if uses_gpu(judge):
        return evaluate_on_gpu(request, load_device(device, ROOT) if device else None, store)
    return evaluate_without_gpu(request, load_device(device or DEFAULTS.device, ROOT), store)


def evaluate_without_gpu(request: EvaluateRequest, device: Device, store: Store) -> Evaluated:
    """Judge by kopt's interpreter on the small workloads, and estimate the time.

    Args:
        request: the kernel to evaluate, and the limits.
        device: the device to build for; the estimate uses its rates.
        store: keeps PTX and cubin.

    Raises:
        ProblemError: the problem cannot be judged.
        WorkerDied: a process of kopt broke.
    """
    return judge_without_gpu(request, *estimate_without_gpu(request, device, store), device)


def estimate_without_gpu(
    request: EvaluateRequest, device: Device, store: Store
) -> tuple[Build, Estimated | None, Estimated | None]:
    """Build the kernel, and the seed kernel where there is one; return the build and the estimated times of both.

    Raises:
        ProblemError: the problem cannot be judged.
        WorkerDied: a process of kopt broke.
    """
    return run_with_environment(
        NO_GPU, 2 * request.build_seconds + START_S, _build_and_estimate, request, device, store.root
    )


def judge_without_gpu(
    request: EvaluateRequest, build: Build, timing: Estimated | None, seed_timing: Estimated | None, device: Device
) -> Evaluated:
    """Judge a kernel by kopt's interpreter on the small workloads.

    Args:
        request: the kernel, and the limits.
        build: its build.
        timing: its estimated time; None where it was not built.
        seed_timing: the seed kernel's estimated time; None if the problem has no seed kernel, or it has no estimate.
        device: the device that the times are estimated for.

    Raises:
        ProblemError: the problem cannot be judged.
        WorkerDied: a process of kopt broke.
    """
    if isinstance(build, BuildFailed):
        return _not_built(build, request, device)
    verdict = run_with_environment(NO_GPU, request.judge_seconds + 2 * START_S, _interpret, request)
    if isinstance(verdict, Passed) and timing:
        verdict = undone_work(timing, seed_timing, verdict.judge) or verdict
    return _evaluated(verdict, build, estimated_time(timing, seed_timing) if timing else None, request, device)


def evaluate_on_gpu(request: EvaluateRequest, wanted: Device | None, store: Store) -> Evaluated:
    """Judge and time on one of the visible GPUs, side by side with the problem's seed kernel.

    Args:
        request: the kernel to evaluate, and the limits.
        wanted: the GPU must be of this device's architecture; None: any GPU will do.
        store: keeps PTX, cubin and the GPU's measured rates.

    Raises:
        DeviceError: there is no GPU, it is another one than wanted, it was not free in time, or it broke.
        ProblemError: the problem cannot be judged.
        WorkerDied: a process of kopt broke.
    """
    with leased(store, wait_s=request.wait_s) as gpu:
        if wanted is not None:
            check_same(gpu, wanted)
        build = run_with_environment(
            NO_GPU, request.build_seconds + START_S, _build, request, [request.kernel], gpu.device, store.root
        )[0]
        if isinstance(build, BuildFailed):
            return _not_built(build, request, gpu.device)
        judged, seed = run_in_fresh_process(2 * request.judge_seconds + RACE_S, _race, request, build, gpu, store.root)
        time = measured_time(judged.timing, seed.timing if seed else None) if judged.timing else None
        return _evaluated(judged.verdict, build, time, request, gpu.device)


# --- in processes of their own ----------------------------------------------------------------------------------------


def _build(request: EvaluateRequest, kernels: Sequence[Kernel], device: Device, store: Path) -> list[Build]:
    build_all = build_with_triton(
        request.problem, device, Store(store), workers=len(kernels), seconds=request.build_seconds
    )
    builds = build_all(kernels)
    return [builds[index] for index in range(len(kernels))]


def _build_and_estimate(
    request: EvaluateRequest, device: Device, store: Path
) -> tuple[Build, Estimated | None, Estimated | None]:
    """Return the kernel's build, its estimated time, and the seed kernel's where there is one."""
    from kopt.device.reference.trial import slow_small
    from kopt.estimate.kernel_time import estimate

    if warning := slow_small(request.problem):
        print(f"kopt: warning: {warning}", file=sys.stderr, flush=True)
    seed = [request.problem.seed] if request.problem.has_seed else []
    builds = _build(request, [request.kernel, *seed], device, store)
    facts = facts_of(request.problem, Store(store))
    times = [
        estimate(build, facts, device, lambda name: Store(store).text("ptx", name, ".ptx"))
        if isinstance(build, Built) else None
        for build in builds
    ]  # fmt: skip
    return builds[0], times[0], times[1] if seed else None


def _interpret(request: EvaluateRequest) -> Verdict:
    from kopt.device.interpret.contestant import VerifyJob
    from kopt.device.interpret.judge import verify_all
    from kopt.sandbox.cage import Limits

    job = VerifyJob(kernel=request.kernel, problem=request.problem, seed=request.seed)
    ((_, verdict),) = verify_all([job], workers=1, limits=Limits(wall_s=request.judge_seconds))
    return verdict


def _race(
    request: EvaluateRequest, build: Built, gpu: MeasuredDevice, store: Path
) -> tuple[JudgedKernel, JudgedKernel | None]:
    """Judge the kernel and, where there is one, the seed kernel side by side."""
    from kopt.device.cuda.judge import LIMITS, CudaJob, ProblemOnDevice, judge_all
    from kopt.device.cuda.race import Race
    from kopt.device.hardware.zygote import warm

    warm()  # before torch traces facts, since a fork loses the threads that tracing starts
    jobs = [CudaJob(kernel=request.kernel, problem=request.problem, seed=request.seed, build=build)]
    if request.problem.has_seed:
        jobs.append(CudaJob(kernel=request.problem.seed, problem=request.problem, seed=request.seed))
    problem = ProblemOnDevice(facts_of(request.problem, Store(store)), gpu, Store(store))
    limits = replace(LIMITS, wall_s=request.judge_seconds)
    judged = dict(judge_all(jobs, problem, workers=len(jobs), limits=limits, race=Race(repeat=request.repeat)))
    return judged[0], judged.get(1)


# --- what became of it ------------------------------------------------------------------------------------------------


def _not_built(build: BuildFailed, request: EvaluateRequest, device: Device) -> Evaluated:
    return Evaluated(
        status="failed", judged_by="build", phase=build.phase, reason=build.reason, problem=request.problem.name,
        device=device.name, toolchain=toolchain(device),
    )  # fmt: skip


def _evaluated(
    verdict: Verdict, build: Built, time: Time | None, request: EvaluateRequest, device: Device
) -> Evaluated:
    return Evaluated(
        status=verdict.verdict,
        judged_by=verdict.judge,
        phase=verdict.phase if isinstance(verdict, Failed) else "",
        reason="" if isinstance(verdict, Passed) else verdict.reason,
        problem=request.problem.name,
        device=device.name,
        toolchain=toolchain(device),
        fingerprint=build.fingerprint,
        checks=() if isinstance(verdict, Failed) else verdict.checks,
        time=time if isinstance(verdict, Passed) else None,
    )
