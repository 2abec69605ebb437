"""The keys under which items are stored: what each kind of item depends on, and nothing else."""

from __future__ import annotations

from typing import ClassVar

from kopt import artifact
from kopt.model.device import Device, Toolchain
from kopt.model.environment import Environment
from kopt.model.problem import Problem, Workload
from kopt.store import Key


class FactsKey(Key):
    """Facts of a problem's main workloads."""

    kind: ClassVar[str] = "facts"
    problem: str
    code: str


class BuildKey(Key):
    """A build: source, contract on the main workloads, target and toolchain."""

    kind: ClassVar[str] = "build"
    kernel: str
    entry: str
    problem: str
    device: str
    toolchain: Toolchain


class VerdictKey(Key):
    """A verdict belongs to a source, not to a fingerprint: equal PTX on one shape may differ on another."""

    kind: ClassVar[str] = "verdict"
    schema_version: ClassVar[int] = 2  # from here on launches are run again on new inputs, and watched for races
    kernel: str
    entry: str
    problem: str
    judge: str
    seed: int
    toolchain: Toolchain


class EstimateKey(Key):
    """An estimated time: compiled behaviour, workloads, device description and the estimate's own code."""

    kind: ClassVar[str] = "estimate"
    build: str
    facts: str
    device: str
    code: str


class TimingKey(Key):
    """A time measured while judging: compiled behaviour, workloads, very device and versions, length of the race."""

    kind: ClassVar[str] = "timing"
    compiled: str
    """Fingerprint, or the source's digest where there is none."""
    problem: str
    environment: Environment
    warmup: int
    repeat: int


class FinalsKey(Key):
    """A fresh measurement of kernels and baselines, side by side."""

    kind: ClassVar[str] = "finals"
    kernels: tuple[tuple[str, str], ...]
    """Names and digests of the sources."""
    baselines: tuple[str, ...]
    problem: str
    environment: Environment
    seed: int
    warmup: int
    repeat: int
    processes: int


class ProfileKey(Key):
    """A profile from counters: source, workload, very device and versions, the code that reads counters."""

    kind: ClassVar[str] = "profile"
    kernel: str
    entry: str
    build: str
    problem: str
    workload: str
    environment: Environment
    code: str


class VectorKey(Key):
    """A technique vector: source, compiled behaviour, taxonomy, classifier."""

    kind: ClassVar[str] = "vector"
    kernel: str
    build: str
    taxonomy: str
    classifier: str
    code: str


class ProposalKey(Key):
    """What the rewriter made of a parent; deterministic, kept because making it again takes time."""

    kind: ClassVar[str] = "proposal"
    parent: str
    failed: str
    direction: str
    facts: str
    seed: int
    exclude: str
    code: str


def build_contract(problem: Problem) -> str:
    """Digest of what a build depends on in a problem."""
    return _contract(problem, problem.main)


def verdict_contract(problem: Problem) -> str:
    """Digest of what a verdict of the interpreter depends on in a problem."""
    return _judged_on(problem, problem.small)


def cuda_contract(problem: Problem) -> str:
    """Digest of what a verdict of the judge on a GPU depends on in a problem."""
    return _judged_on(problem, (*problem.main, *problem.hidden))


def build_target(device: Device) -> str:
    """Digest of what a build depends on in a device: not its measured rates."""
    return artifact.digest(device.model_dump(exclude={"copy_gb_s", "matmul_tflop_s", "vector_tflop_s", "measured"}))


def _judged_on(problem: Problem, workloads: tuple[Workload, ...]) -> str:
    tolerance = problem.tolerance.model_dump() if problem.tolerance else None
    return artifact.digest([_contract(problem, workloads), tolerance, problem.mutates])


def _contract(problem: Problem, workloads: tuple[Workload, ...]) -> str:
    return artifact.digest([problem.reference, problem.dtype, [w.model_dump() for w in workloads]])
