"""The keys under which items are stored: what each kind of item depends on, and nothing else."""

from __future__ import annotations

from typing import ClassVar

from kopt import artifact
from kopt.model.device import Device, Toolchain
from kopt.model.problem import Problem, Workload
from kopt.store import Key

KERNEL = "kernel"
"""Kind of the stored kernel sources, named by their own digest."""


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
    tolerance = problem.tolerance.model_dump() if problem.tolerance else None
    return artifact.digest([_contract(problem, problem.small), tolerance, problem.mutates])


def build_target(device: Device) -> str:
    """Digest of what a build depends on in a device: not its measured rates."""
    return artifact.digest(device.model_dump(exclude={"copy_gb_s", "matmul_tflop_s", "vector_tflop_s", "measured"}))


def _contract(problem: Problem, workloads: tuple[Workload, ...]) -> str:
    return artifact.digest([problem.reference, problem.dtype, [w.model_dump() for w in workloads]])
