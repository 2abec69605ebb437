"""Compile kernels for the workloads that a judge on a GPU runs beside the main ones: entries of Triton's cache.

Triton compiles a kernel anew for other sizes, and would do so while the judge holds its GPU.  What is compiled here is
no part of a build: a candidate sees sizes here that proposers must not know, so nothing that it says or raises is
kept, logged or shown.  What fails here is not compiled, and nobody is told.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from kopt.device.build.build import LIMITS, check_texts, compiled_texts, keep_texts, warm_up
from kopt.device.build.precompiled import ENTRY, kernel_digests
from kopt.device.build.trace import trace
from kopt.errors import StoreError
from kopt.model.build import FurtherKernels, KernelDigests
from kopt.model.device import Device
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem
from kopt.sandbox.pipe import Malformed, Report
from kopt.sandbox.pool import Outcome, Returned, run_forked
from kopt.sandbox.reply import pack, unpack
from kopt.store import Store


def compile_further(
    kernels: Sequence[Kernel], problem: Problem, device: Device, *, store: Store, workers: int, seconds: float
) -> list[FurtherKernels]:
    """Compile kernels that have a build for the workloads beside the main ones, each in a caged child of its own.

    Args:
        kernels: the kernels.
        problem: their problem, with its hidden workloads.
        device: the device to compile for.
        store: keeps what is compiled.
        workers: children at a time.
        seconds: limit of one child, s; none begins after half of it, so that all end within one and a half.

    Returns:
        What was compiled of each kernel; nothing of a kernel that failed.
    """
    torch.set_num_threads(1)
    end = time.monotonic() + seconds / 2
    others = problem.model_copy(update={"main": problem.judged_beside_main, "hidden": ()})
    if kernels:
        warm_up(device.arch)
    tasks = [partial(_compile_in_child, kernel, others, device, end) for kernel in kernels]
    limits = replace(LIMITS, wall_s=seconds)
    made = {at: _kept(outcome, store) for at, outcome in run_forked(tasks, workers=workers, limits=limits)}
    return [made[at] for at in range(len(kernels))]


def _compile_in_child(kernel: Kernel, problem: Problem, device: Device, end: float, report: Report) -> bytes:
    """Compile a kernel for the problem's main workloads, unless time is over."""
    traced = trace(kernel, problem, device, Path.cwd(), report.phase) if time.monotonic() < end else []
    return pack(FurtherKernels(kernels=kernel_digests(one.build for one in traced)), compiled_texts(traced))


def _kept(outcome: Outcome, store: Store) -> FurtherKernels:
    """Keep what a child has compiled, and name it: nothing where the child failed, or sent something else."""
    nothing = FurtherKernels()
    if not isinstance(outcome, Returned):
        return nothing
    try:
        answer, texts = unpack(outcome.value, FurtherKernels)
        check_texts(texts)
        if not all(_is_sent(one, texts) for one in answer.kernels):
            return nothing
        keep_texts(texts, store)
    except (Malformed, StoreError):
        return nothing
    return answer


def _is_sent(kernel: KernelDigests, texts: Mapping[str, bytes]) -> bool:
    return {f"{ENTRY}/{kernel.entry}", f"ptx/{kernel.ptx}", f"cubin/{kernel.cubin}"} <= texts.keys()
