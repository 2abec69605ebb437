"""Give a problem without a seed kernel one that is made of its reference, once for a store."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from kopt.device.hardware.gpus import visible_gpus
from kopt.device.hardware.nearest import nearest
from kopt.errors import SeedError
from kopt.jobs.builds import toolchain
from kopt.jobs.keys import MadeSeedKey, build_contract, build_target
from kopt.load_config import described_devices, load_device
from kopt.model.device import Device
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem
from kopt.project import project_root
from kopt.provenance import code_digest
from kopt.sandbox.environment import NO_GPU
from kopt.sandbox.fresh import run_in_shared
from kopt.seed.make import LIMITS, Seed, make_seeds
from kopt.store import Store

START_S = 120.0
"""Most time of the process that makes seeds beside its limit: imports; generous, s."""


def seeds_of(problem: Problem, device: Device, *, variants: int = 1, limit_s: float = LIMITS.wall_s) -> list[Seed]:
    """Make seed kernels of a reference in a fresh process without a GPU, as `make_seeds` does.

    Raises:
        SeedError: no seed can be made; one line.
    """
    return run_in_shared(
        NO_GPU, limit_s + START_S, None, make_seeds, problem, device, variants=variants, limit_s=limit_s
    )


def device_to_write_for(name: str, root: Path, *, on_gpu: bool, model: str = "") -> Device:
    """Return the device that seeds are written for: with a GPU the described one that is most like it.

    Tiles that fill the shared memory of one GPU do not fit another.

    Args:
        name: name of the described device without a GPU, or the path of a description.
        root: folder of the checkout.
        on_gpu: whether kernels run on a GPU.
        model: model of the GPU that jobs ask a cluster for; counts where no GPU is visible here.

    Raises:
        ConfigError: there is no such description, or one is malformed.
        DeviceError: the NVIDIA driver does not answer.
    """
    if on_gpu:
        described = described_devices(root)
        for gpu in visible_gpus(os.environ):
            return nearest(gpu, list(described.values()))
        if model.lower() in described:
            return described[model.lower()]
    return load_device(name, root)


def with_seed(problem: Problem, device: Device, store: Store) -> Problem:
    """Return a problem that has a seed kernel: its own, or one made of its reference, which is not verified yet.

    A seed that the store does not hold is made in a fresh process; a line on stderr announces it.

    Args:
        problem: the problem.
        device: the device to write for.
        store: keeps seeds that were made.

    Raises:
        SeedError: no seed can be made; the message says why, and what to do.
    """
    if problem.has_seed:
        return problem
    try:
        seed = made_seed(problem, device, store, f"{problem.name} has no kernel.py")
    except SeedError as error:
        raise SeedError(
            f"{problem.name} has no kernel.py, and no seed kernel can be made of its reference: {error}; "
            "write kernel.py (docs/problems.md), or let a language model do it: kopt seed --model"
        ) from error
    return problem.model_copy(update={"seed": seed})


def made_seed(problem: Problem, device: Device, store: Store, why: str) -> Kernel:
    """Return a seed kernel that is made of a problem's reference, whether the problem has one or not.

    Args:
        problem: the problem.
        device: the device to write for; in place of a measured one the described one that is most like it.
        store: keeps seeds that were made.
        why: why it is made, for the line on stderr that announces it.

    Raises:
        SeedError: no seed can be made; one line.
    """
    return problem.seed.with_source(kept_seed(problem, device, store, why).source)


def kept_seed(problem: Problem, device: Device, store: Store, why: str = "") -> Seed:
    """Return a seed that is made of a problem's reference, as `made_seed` does, with who wrote its kernels.

    Args:
        problem: the problem.
        device: the device to write for; in place of a measured one the described one that is most like it.
        store: keeps seeds that were made.
        why: why it is made, for the line on stderr that announces it; empty: no line.

    Raises:
        SeedError: no seed can be made; one line.
    """
    if device.measured:
        device = nearest(device, list(described_devices(project_root()).values()))
    without = problem.model_copy(update={"seed": problem.seed.with_source("")})
    key = MadeSeedKey(
        problem=build_contract(without), device=build_target(device), toolchain=toolchain(device),
        code=code_digest("kopt.seed.make"),
    )  # fmt: skip

    def make() -> Seed:
        if why:
            print(f"kopt: {why}: making a seed kernel of its reference", file=sys.stderr, flush=True)
        return seeds_of(without, device)[0]

    return store.shelf(Seed).get_or_make(key, make)
