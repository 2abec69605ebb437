"""What a run finds on this machine: `kopt doctor`.

A fault stops a run; a note says what is missing and what is done without it.  Every question has a limit in time.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from contextlib import suppress
from pathlib import Path

from kopt.commands.noise import Noise, noise_floor
from kopt.device.hardware.gpus import Gpu, find_gpus, visible_gpus
from kopt.device.hardware.lease import GpuBusy
from kopt.device.ncu.count import NotCounted, ProfileJob, count, find_ncu
from kopt.errors import DeviceError, KoptError
from kopt.jobs.on_gpu import leased
from kopt.model.base import Value
from kopt.model.device import Device
from kopt.model.problem import Problem
from kopt.sandbox import landlock
from kopt.sandbox.cage import cage_features
from kopt.sandbox.environment import GPU_VARIABLE
from kopt.sandbox.fresh import run_in_fresh_process
from kopt.store import Store

PACKAGES = ("torch", "triton", "snakemake")
WAIT_S = 60.0
"""Longest wait for a GPU that others hold."""
COUNT_S = 120.0
NOISE_S = 240.0
BATCHES, LAUNCHES = 8, 25
"""Of the A/A measurement: short."""
COMPILERS = ("cc", "gcc", "clang")


class Counters(Value):
    """Whether hardware counters can be read; a search does without where they cannot."""

    ncu: str
    """Path of Nsight Compute; empty where it is not installed."""
    readable: bool | None = None
    """None: not tried."""
    detail: str = ""
    """Why not."""


class Examined(Value):
    """Everything that was found."""

    versions: dict[str, str]
    """Python and packages; empty where one is missing."""
    gpus: tuple[Gpu, ...]
    """Those that a process may use."""
    judge: str
    """How a run with these settings judges: `cuda`, `interpret` or `dry`."""
    cage: dict[str, bool | str]
    landlock_abi: int
    """0: none."""
    counters: Counters
    rates: Device | None = None
    """The GPU with its measured rates."""
    noise: Noise | None = None
    """A/A: the same kernel's times against themselves."""
    notes: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


def examine(judge: str, problem: Problem, store: Store) -> Examined:
    """Look at this machine.

    Args:
        judge: the setting.
        problem: the run's, whose seed kernel is profiled and timed where there is a GPU.
        store: keeps the GPU's measured rates.
    """
    versions = {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}
    faults = [f"{name} is not installed: pip install -e ." for name, version in versions.items() if not version]
    gpus: tuple[Gpu, ...] = ()
    notes: list[str] = []
    try:
        gpus, notes = _gpus()
    except DeviceError as error:
        faults.append(str(error))
    used = ("cuda" if gpus else "interpret") if judge == "auto" else judge
    if used == "cuda" and not gpus:
        faults.append("judge=cuda, but no GPU is visible: set judge=auto to go on with estimated times")
    found = Examined(
        versions=versions, gpus=gpus, judge=used, cage=cage_features(), landlock_abi=landlock.abi(),
        counters=Counters(ncu=str(find_ncu() or "")), notes=tuple(notes), faults=tuple(faults),
    )  # fmt: skip
    usable = bool(gpus and versions["torch"] and versions["triton"])
    return _tried(found, problem, store) if usable else found


def in_words(one: Examined) -> list[str]:
    """For the terminal: what there is, then notes, then faults."""
    lines = [", ".join(f"{name} {version or 'MISSING'}" for name, version in one.versions.items())]
    lines += [
        f"GPU: {gpu.name}, {gpu.uuid}, {gpu.memory_bytes / 2**30:.1f} GiB, driver {gpu.driver}" for gpu in one.gpus
    ]
    lines.append(_JUDGED[one.judge] if one.gpus else f"no GPU: {_JUDGED['interpret' if one.judge != 'dry' else 'dry']}")
    lines.append("cage: " + ", ".join(f"{name}: {_yes(value)}" for name, value in one.cage.items()))
    lines += _counter_lines(one) + _rate_lines(one)
    return [*lines, *(f"note: {line}" for line in one.notes), *(f"fault: {line}" for line in one.faults)]


_JUDGED = {
    "cuda": "kernels are verified and timed on the GPU",
    "interpret": "kernels are verified by Triton's interpreter, and their times are estimated",
    "dry": "nothing is judged (judge=dry)",
}


def _counter_lines(one: Examined) -> list[str]:
    counters = one.counters
    if not one.gpus:
        return []
    if not counters.ncu:
        return ["counters: Nsight Compute (ncu) is not installed; profiles are made of static facts and times"]
    said = {True: "can be read", False: f"cannot be read: {counters.detail}", None: "not tried"}[counters.readable]
    return [f"counters: {said} ({counters.ncu})"]


def _rate_lines(one: Examined) -> list[str]:
    lines = []
    if one.rates is not None:
        matmul = ", ".join(f"{name} {rate:g}" for name, rate in one.rates.matmul_tflop_s.items())
        lines.append(f"measured rates: memory {one.rates.copy_gb_s:g} GB/s; matrix products {matmul} TFLOP/s")
    if one.noise is not None:
        noise = one.noise
        lines.append(
            f"noise (A/A, {noise.problem}, {noise.batches} times {noise.launches} calls): {noise.floor:.2%}, "
            f"1 inside {noise.inside} of {noise.batches} intervals, ratio off by at most {noise.worst:.2%}"
        )
    return lines


def _yes(value: bool | str) -> str:
    return value if isinstance(value, str) else "yes" if value else "no"


def _version(name: str) -> str:
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(name)
    return ""


def _gpus() -> tuple[tuple[Gpu, ...], list[str]]:
    """The GPUs that may be used, and a note when others are hidden."""
    there = find_gpus()
    visible = visible_gpus(os.environ, there)
    hidden = len(there) - len(visible)
    return visible, [f"{GPU_VARIABLE}={os.environ[GPU_VARIABLE]} hides {hidden} of {len(there)} GPUs"] if hidden else []


def _tried(found: Examined, problem: Problem, store: Store) -> Examined:
    """The same, with what one of the GPUs itself says."""
    if not os.environ.get("CC") and not any(map(shutil.which, COMPILERS)):
        return _with(found, faults=(*found.faults, "no C compiler (gcc or clang): Triton needs one to launch kernels"))
    try:
        with leased(store, wait_s=WAIT_S) as gpu:
            found = _with(found, rates=gpu.device)
            found = _with(found, counters=_count(found.counters, problem))
            noise = run_in_fresh_process(
                NOISE_S, noise_floor, problem, gpu.device.memory_bytes, batches=BATCHES, launches=LAUNCHES
            )
            return _with(found, noise=noise)
    except GpuBusy as error:
        return _with(found, notes=(*found.notes, f"nothing was measured: {error}"))
    except KoptError as error:
        return _with(found, faults=(*found.faults, str(error)))


def _with(found: Examined, **fields: object) -> Examined:
    return found.model_copy(update=fields)


def _count(counters: Counters, problem: Problem) -> Counters:
    """Try to read counters of the seed kernel on a small workload."""
    if not counters.ncu:
        return counters
    job = ProfileJob(kernel=problem.seed, problem=problem, workload=problem.small[0])
    counted = count(job, ncu=Path(counters.ncu), wait_s=COUNT_S)
    if isinstance(counted, NotCounted):
        return Counters(ncu=counters.ncu, readable=False, detail=counted.note)
    return Counters(ncu=counters.ncu, readable=True)
