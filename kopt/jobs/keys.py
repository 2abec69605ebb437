"""Define the keys under which items are stored: each key lists what an item depends on, and nothing else."""

from __future__ import annotations

from typing import ClassVar

from kopt import artifact
from kopt.model.device import Device, Toolchain
from kopt.model.environment import Environment
from kopt.model.problem import Layout, Problem, Workload
from kopt.store import Key


class FactsKey(Key):
    """Facts of a problem's main workloads: the problem, and the code that counts the facts."""

    kind: ClassVar[str] = "facts"
    problem: str
    code: str


class BuildKey(Key):
    """A build: source, contract on the main workloads, target device, toolchain, and the screen's rules.

    Of the code that builds only the screen is part of the key, since what it refuses must not pass from an older store;
    the rest is not, since most edits of that code do not change builds: raise
    `schema_version` with an edit that changes fingerprints or what a build records.
    """

    kind: ClassVar[str] = "build"
    schema_version: ClassVar[int] = 2  # 2: the screen's code
    incidental: ClassVar[frozenset[str]] = frozenset({"ptx", "cubin", "entry", "reason"})
    """PTX and cubin name temporary files in their debug lines, which the fingerprint leaves out."""
    kernel: str
    entry: str
    problem: str
    device: str
    toolchain: Toolchain
    screen: str
    """Digest of the code that refuses sources by their text."""


class FurtherKey(Key):
    """Kernels that are compiled ahead of a judge on a GPU, for the workloads beside the main ones.

    What is missing there is compiled while the GPU is held, so that a few may be missing.
    """

    kind: ClassVar[str] = "further"
    determined: ClassVar[bool] = False
    kernel: str
    entry: str
    problem: str
    device: str
    toolchain: Toolchain


class RecordedBuildKey(Key):
    """A build that another machine made, by its name there; no judge looks it up."""

    kind: ClassVar[str] = "recorded_build"
    build: str


class MeasurementsKey(Key):
    """The measurements of a recorded search; only the backend `recorded` looks them up."""

    kind: ClassVar[str] = "measurements"
    recording: str
    """Digest of the measurements."""


class VerdictKey(Key):
    """A verdict belongs to a source, not to a fingerprint: sources with equal PTX on a shape may differ on another."""

    kind: ClassVar[str] = "verdict"
    incidental: ClassVar[frozenset[str]] = frozenset({"checks", "reason"})
    """Error figures differ from run to run where a kernel adds in no fixed order; the outcome must not differ."""
    schema_version: ClassVar[int] = 3  # 3: the judge's code is part of the key
    kernel: str
    entry: str
    problem: str
    judge: str
    seed: int
    toolchain: Toolchain
    code: str
    """Digest of the judge's code: an edited judge judges again."""


class EstimateKey(Key):
    """An estimated time: build, facts of the workloads, device description, and the code that estimates."""

    kind: ClassVar[str] = "estimate"
    build: str
    facts: str
    device: str
    code: str


class TimingKey(Key):
    """A time measured while judging: compiled behaviour, workloads, environment, and launches of the race."""

    kind: ClassVar[str] = "timing"
    determined: ClassVar[bool] = False
    compiled: str
    """Fingerprint of the build, or digest of the source where there is no fingerprint."""
    problem: str
    environment: Environment
    warmup: int
    repeat: int


class FinalsKey(Key):
    """The final measurement of kernels and baselines, side by side in fresh processes."""

    kind: ClassVar[str] = "finals"
    determined: ClassVar[bool] = False
    kernels: tuple[tuple[str, str], ...]
    """Name and source digest of each kernel."""
    baselines: tuple[str, ...]
    problem: str
    environment: Environment
    seed: int
    warmup: int
    repeat: int
    processes: int


class ProfileKey(Key):
    """A profile from hardware counters: source, workload, environment, and the code that reads the counters."""

    kind: ClassVar[str] = "profile"
    determined: ClassVar[bool] = False
    kernel: str
    entry: str
    build: str
    problem: str
    workload: str
    environment: Environment
    code: str


class VectorKey(Key):
    """A technique vector: source, build, taxonomy, classifier, and the classifier's code or request."""

    kind: ClassVar[str] = "vector"
    kernel: str
    build: str
    taxonomy: str
    classifier: str
    code: str


class MadeSeedKey(Key):
    """A seed kernel made of a reference: the reference, the device, the toolchain, and the code that makes seeds."""

    kind: ClassVar[str] = "made_seed"
    determined: ClassVar[bool] = False
    problem: str
    device: str
    toolchain: Toolchain
    code: str


class ExperienceKey(Key):
    """Gains of transformations in one run: the run's problem, device and judge, and the digest of its candidates."""

    kind: ClassVar[str] = "experience"
    problem: str
    device: str
    judge: str
    tried: str
    """Digest of the run's candidates with their outcomes."""
    code: str


class ProposalKey(Key):
    """A proposal of the rewriter: parent, failed child, direction, facts, seed, experience, and the code that rewrites.

    The rewriter is deterministic; its proposals are stored to save time.
    """

    kind: ClassVar[str] = "proposal"
    schema_version: ClassVar[int] = 2  # 2: experience, and the numbers of what is proposed
    parent: str
    failed: str
    direction: str
    facts: str
    seed: int
    exclude: str
    experience: str
    """Digest of the candidates of earlier rounds, and of what is pending where numbers are tuned; empty where nothing
    is learned."""
    code: str


def build_contract(problem: Problem) -> str:
    """Return the digest of the parts of a problem on which a build depends."""
    return _contract(problem, problem.main)


def further_contract(problem: Problem) -> str:
    """Return the digest of the parts of a problem on which the kernels beside those of its builds depend."""
    return _contract(problem, problem.judged_beside_main)


def verdict_contract(problem: Problem) -> str:
    """Return the digest of the parts of a problem on which a verdict of the interpreter depends."""
    return _judged_on(problem, problem.small)


def cuda_contract(problem: Problem) -> str:
    """Return the digest of the parts of a problem on which a verdict of the CUDA judge depends."""
    return _judged_on(problem, (*problem.main, *problem.hidden))


def timed_contract(problem: Problem) -> str:
    """Return the digest of the parts of a problem on which measured times, and their mean, depend."""
    contract = cuda_contract(problem)
    return artifact.digest([contract, problem.weights]) if problem.weights else contract


def timing_key(compiled: str, problem: Problem, environment: Environment, *, warmup: int, repeat: int) -> TimingKey:
    """Return the key of a time that was measured while judging.

    Args:
        compiled: the kernel's behaviour (`kopt.model.trial.behaviour`).
        problem: the problem.
        environment: where it was measured.
        warmup: launches before the race.
        repeat: launches of the race.
    """
    return TimingKey(
        compiled=compiled, problem=timed_contract(problem), environment=environment, warmup=warmup, repeat=repeat
    )  # fmt: skip


def build_target(device: Device) -> str:
    """Return the digest of the parts of a device on which a build depends: everything but the measured rates."""
    return artifact.digest(device.model_dump(exclude={"copy_gb_s", "matmul_tflop_s", "vector_tflop_s", "measured"}))


def _judged_on(problem: Problem, workloads: tuple[Workload, ...]) -> str:
    tolerance = problem.tolerance.model_dump() if problem.tolerance else None
    rules = {name: rule.model_dump(mode="json") for name, rule in problem.inputs.items()}
    ruled = [rules, problem.layout] if rules or problem.layout is not Layout.REFERENCE else []
    return artifact.digest([_contract(problem, workloads), tolerance, problem.mutates, *ruled])


def _contract(problem: Problem, workloads: tuple[Workload, ...]) -> str:
    return artifact.digest([problem.reference, problem.dtypes, [w.model_dump() for w in workloads]])
