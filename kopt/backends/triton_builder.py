"""Build kernels with Triton without a GPU, each in a caged child process."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

from kopt.backends.backend import Builder
from kopt.errors import DeviceError
from kopt.model.build import Build
from kopt.model.device import Device
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem
from kopt.sandbox.environment import GPU_VARIABLE
from kopt.store import Store


def build_with_triton(problem: Problem, device: Device, store: Store, *, workers: int, seconds: float) -> Builder:
    """Make a builder that compiles with Triton for `device`.

    Args:
        problem: the problem, which defines how kernels are called.
        device: the GPU to compile for; this machine need not have it.
        store: keeps PTX and cubins.
        workers: child processes at a time.
        seconds: wall-clock limit of one kernel, s.

    The process must see no GPU (`kopt.sandbox.environment.NO_GPU`): else torch would initialise CUDA before the fork.

    Raises:
        DeviceError: the builder is called in a process that may see a GPU.
    """

    def build(kernels: Sequence[Kernel]) -> Mapping[int, Build]:
        if not kernels:
            return {}
        if os.environ.get(GPU_VARIABLE) != "":
            raise DeviceError(f"kernels are built in a process that sees no GPU: begin it with {GPU_VARIABLE} empty")
        from kopt.device.build.build import LIMITS, BuildJob, build_all

        jobs = [BuildJob(kernel=kernel, problem=problem, device=device) for kernel in kernels]
        return dict(build_all(jobs, store=store, workers=workers, limits=replace(LIMITS, wall_s=seconds)))

    return build
