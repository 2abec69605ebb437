"""Examine this machine: versions, GPUs, cage, hardware counters, rates and noise.

A fault stops a run; a note says what is missing and what a run does without it.  Every check has a time limit.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from contextlib import suppress
from pathlib import Path

from kopt.commands.parts.noise import Noise, noise_floor
from kopt.device.hardware.gpus import Gpu, find_gpus, visible_gpus
from kopt.device.hardware.lease import GpuBusy
from kopt.device.ncu.count import count
from kopt.device.ncu.job import ProfileJob
from kopt.device.ncu.outcome import NotCounted
from kopt.device.ncu.run import find_ncu
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
"""Longest wait for a GPU that others hold, s."""
COUNT_S = 120.0
"""Limit of reading hardware counters, s."""
NOISE_S = 240.0
"""Limit of the A/A measurement, s."""
BATCHES, LAUNCHES = 8, 25
"""Batches of the A/A measurement, and calls in each: a short one."""
COMPILERS = ("cc", "gcc", "clang")


class Counters(Value):
    """Whether hardware counters can be read; a search does without them where they cannot."""

    ncu: str
    """Path of Nsight Compute; empty where it is not installed."""
    readable: bool | None = None
    """None: not tried."""
    detail: str = ""
    """Why they cannot be read."""


class Examination(Value):
    """The results of an examination of this machine."""

    versions: dict[str, str]
    """Versions of Python and packages; empty for a missing package."""
    gpus: tuple[Gpu, ...]
    """The GPUs that a process may use."""
    judge: str
    """Judge of a run with these settings: `cuda`, `interpret` or `dry`."""
    cage: dict[str, bool | str]
    landlock_abi: int
    """0: none."""
    counters: Counters
    rates: Device | None = None
    """The GPU with its measured rates."""
    noise: Noise | None = None
    """A/A: the times of one kernel against themselves."""
    notes: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


def examine(judge: str, problem: Problem, store: Store) -> Examination:
    """Examine this machine.

    Args:
        judge: the setting of a run: `auto`, `cuda`, `interpret` or `dry`.
        problem: the run's problem, whose seed kernel is profiled and timed where there is a GPU.
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
    examination = Examination(
        versions=versions, gpus=gpus, judge=used, cage=cage_features(), landlock_abi=landlock.abi(),
        counters=Counters(ncu=str(find_ncu() or "")), notes=tuple(notes), faults=tuple(faults),
    )  # fmt: skip
    usable = bool(gpus and versions["torch"] and versions["triton"])
    return _with_measurements(examination, problem, store) if usable else examination


def in_words(examination: Examination) -> list[str]:
    """Describe an examination for the terminal: what there is, then notes, then faults."""
    lines = [", ".join(f"{name} {version or 'MISSING'}" for name, version in examination.versions.items())]
    lines += [
        f"GPU: {gpu.name}, {gpu.uuid}, {gpu.memory_bytes / 2**30:.1f} GiB, driver {gpu.driver}"
        for gpu in examination.gpus
    ]
    judge = "interpret" if examination.judge == "cuda" and not examination.gpus else examination.judge
    lines.append(JUDGED[judge] if examination.gpus else f"no GPU: {JUDGED[judge]}")
    lines.append("cage: " + ", ".join(f"{name}: {_yes(value)}" for name, value in examination.cage.items()))
    lines += _counter_lines(examination) + _rate_lines(examination)
    lines += [f"note: {note}" for note in examination.notes]
    return [*lines, *(f"fault: {fault}" for fault in examination.faults)]


JUDGED = {
    "cuda": "kernels are verified and timed on the GPU",
    "interpret": "kernels are verified by kopt's interpreter, and their times are estimated",
    "dry": "nothing is judged (judge=dry)",
    "dry_gpu": "nothing is judged (judge=dry_gpu)",
    "recorded": "nothing is judged here, verdicts and times are replayed (judge=recorded)",
}
"""Description of each judge."""


def _counter_lines(examination: Examination) -> list[str]:
    counters = examination.counters
    if not examination.gpus:
        return []
    if not counters.ncu:
        return ["counters: Nsight Compute (ncu) is not installed; profiles are made of static facts and times"]
    state = {True: "can be read", False: f"cannot be read: {counters.detail}", None: "not tried"}[counters.readable]
    return [f"counters: {state} ({counters.ncu})"]


def _rate_lines(examination: Examination) -> list[str]:
    lines = []
    if (rates := examination.rates) is not None:
        matmul = ", ".join(f"{name} {rate:g}" for name, rate in rates.matmul_tflop_s.items())
        lines.append(f"measured rates: memory {rates.copy_gb_s:g} GB/s; matrix products {matmul} TFLOP/s")
    if (noise := examination.noise) is not None:
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
    """Find the GPUs that may be used; a note says where others are hidden."""
    present = find_gpus()
    visible = visible_gpus(os.environ, present)
    hidden = len(present) - len(visible)
    return visible, [
        f"{GPU_VARIABLE}={os.environ[GPU_VARIABLE]} hides {hidden} of {len(present)} GPUs"
    ] if hidden else []


def _with_measurements(examination: Examination, problem: Problem, store: Store) -> Examination:
    """Add what one of the GPUs shows itself: rates, counters, noise."""
    if not os.environ.get("CC") and not any(map(shutil.which, COMPILERS)):
        fault = "no C compiler (gcc or clang): Triton needs one to launch kernels"
        return _with(examination, faults=(*examination.faults, fault))
    try:
        with leased(store, wait_s=WAIT_S) as gpu:
            examination = _with(examination, rates=gpu.device)
            examination = _with(examination, counters=_count(examination.counters, problem))
            noise = run_in_fresh_process(
                NOISE_S, noise_floor, problem, gpu.device.memory_bytes, batches=BATCHES, launches=LAUNCHES
            )
            return _with(examination, noise=noise)
    except GpuBusy as error:
        return _with(examination, notes=(*examination.notes, f"nothing was measured: {error}"))
    except KoptError as error:
        return _with(examination, faults=(*examination.faults, str(error)))


def _with(examination: Examination, **fields: object) -> Examination:
    return examination.model_copy(update=fields)


def _count(counters: Counters, problem: Problem) -> Counters:
    """Try to read counters of the seed kernel on a small workload."""
    if not counters.ncu:
        return counters
    job = ProfileJob(kernel=problem.seed, problem=problem, workload=problem.small[0])
    counted = count(job, ncu=Path(counters.ncu), wait_s=COUNT_S)
    if isinstance(counted, NotCounted):
        return Counters(ncu=counters.ncu, readable=False, detail=counted.note)
    return Counters(ncu=counters.ncu, readable=True)
