"""Evaluate one kernel: build it, verify it, and time it beside the seed kernel, or estimate its time without a GPU.

Each step (`kopt.backends.one_kernel`) runs in a process of its own.
"""

from __future__ import annotations

from contextlib import suppress

from kopt.backends.one_kernel import EvaluateRequest, build_and_estimate, further, interpret, race
from kopt.backends.one_kernel import build as build_kernels
from kopt.commands.parts.arguments import DEFAULTS, ROOT, uses_gpu
from kopt.commands.parts.evaluation import Evaluated, Time, estimated_time, measured_time
from kopt.errors import WorkerDied
from kopt.estimate.full_size.work_shares import undone_work
from kopt.jobs.builds import toolchain
from kopt.jobs.on_gpu import check_same, described
from kopt.load_config import load_device
from kopt.model.build import Build, BuildFailed, Built
from kopt.model.device import Device
from kopt.model.problem import Problem
from kopt.model.timing import Estimated
from kopt.model.verdict import Failed, Passed, Verdict
from kopt.sandbox.environment import NO_GPU
from kopt.sandbox.fresh import run_in_fresh_process, run_with_environment
from kopt.store import Store

START_S = 60.0
"""Most time of a fresh process beside the limits of its work, s: imports, facts, expected outputs; generous."""
RACE_S = 240.0
"""Longest wait for inputs, expected outputs and timing of two kernels on a GPU, beside the limits of verifying, s."""


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
        NO_GPU, 2 * request.build_seconds + START_S, build_and_estimate, request, device, store.root
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
    verdict = run_with_environment(NO_GPU, request.judge_seconds + 2 * START_S, interpret, request)
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
    gpu = described(store, wait_s=request.wait_s, like=wanted)
    if wanted is not None:
        check_same(gpu, wanted)
    limit = request.build_seconds + START_S
    build = run_with_environment(NO_GPU, limit, build_kernels, request, [request.kernel], gpu.device, store.root)[0]
    if isinstance(build, BuildFailed):
        return _not_built(build, request, gpu.device)
    with suppress(WorkerDied):  # the judge compiles what is missing
        run_with_environment(NO_GPU, 2 * request.build_seconds + START_S, further, request, gpu.device, store.root)
    limit = request.wait_s + START_S + 2 * request.judge_seconds + RACE_S
    judged, seed = run_in_fresh_process(limit, race, request, build, gpu.device, store.root)
    time = measured_time(judged.timing, seed.timing if seed else None) if judged.timing else None
    return _evaluated(judged.verdict, build, time, request, gpu.device)


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
