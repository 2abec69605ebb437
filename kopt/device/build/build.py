"""Trace and compile candidates without a GPU (the CPU stage), many at a time, each in a caged child.

A candidate's failure is data (`BuildFailed` with phase and reason).  A child's reply is checked, never unpickled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path

import torch
from pydantic import Field, field_validator
from torch._subclasses.fake_tensor import FakeTensorMode

from kopt.device.build.fingerprint import fingerprint, toolchain
from kopt.device.build.precompiled import ENTRY, is_entry
from kopt.device.build.trace import Traced, trace
from kopt.device.reference.elsewhere.uncompiled import keep_compiler_out
from kopt.device.reference.rejection import Rejected, bounded, neutral
from kopt.device.screen.rules import screen
from kopt.device.screen.syntax import check_syntax
from kopt.errors import ProblemError, WorkerDied
from kopt.model.base import Value
from kopt.model.build import Build, BuildFailed, Built, Phase, WorkloadBuild
from kopt.model.device import Device
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem
from kopt.sandbox.cage import Limits
from kopt.sandbox.pipe import Malformed, Report
from kopt.sandbox.pool import Outcome, Raised, Returned, TimedOut, run_forked
from kopt.sandbox.reply import check_digests, pack, unpack
from kopt.store import Store

LIMITS = Limits(wall_s=120.0, data_bytes=6 << 30)
"""Limits of a child by default: enough for some dozens of autotuner configurations."""

_SUFFIXES = {"ptx": ".ptx", "cubin": ".cubin", ENTRY: ".json"}


class BuildJob(Value):
    """One candidate to build."""

    kernel: Kernel
    problem: Problem
    device: Device
    addresses: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    """Addresses of the argument tensors by workload, as `trace` takes them; made up when not given."""

    @field_validator("problem")
    @classmethod
    def _nothing_hidden(cls, problem: Problem) -> Problem:
        return problem.without_hidden()


class _Answer(Value):
    """The answer of a child, without the compiled texts."""

    failed: BuildFailed | None = None
    workloads: tuple[WorkloadBuild, ...] = ()


def build_all(
    jobs: Sequence[BuildJob], *, store: Store, workers: int, limits: Limits = LIMITS
) -> Iterator[tuple[int, Build]]:
    """Build every job, `workers` at a time; yield (index, build) as they finish.

    PTX, cubins and the entries of Triton's cache that load them are kept in `store` under the digests that the builds
    name (kinds `ptx`, `cubin` and `entry`).

    Raises:
        ProblemError: a problem's reference cannot be traced, which is no candidate's fault.
        WorkerDied: a child failed before it imported its candidate.
    """
    torch.set_num_threads(1)
    pending: list[int] = []
    for index, job in enumerate(jobs):
        failed = check_syntax(job.kernel) or screen(job.kernel)
        if failed is None:
            pending.append(index)
        else:
            yield index, failed
    if pending:
        warm_up(max(jobs[index].device.arch for index in pending))
    tasks = [partial(_build_in_child, jobs[index]) for index in pending]
    for position, outcome in run_forked(tasks, workers=workers, limits=limits):
        index = pending[position]
        yield index, _judged(outcome, jobs[index], store)


@cache
def warm_up(arch: int) -> None:
    """Warm up before forking: Triton hashes its own sources, a first fake tensor loads much of torch."""
    import triton.experimental.gluon
    import triton.language.extra.libdevice  # noqa: F401

    keep_compiler_out()
    hash_compiler(arch)
    with FakeTensorMode(), torch.no_grad():
        square = torch.empty(2, 2).uniform_()
        torch.nn.functional.softmax(square @ square, dim=-1).to(torch.bfloat16)


def hash_compiler(arch: int = 90) -> None:
    """Let Triton hash itself and ask ptxas for its version, once for a process and its forks; it uses no CUDA."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler.compiler import make_backend

    make_backend(GPUTarget("cuda", arch, 32)).hash()
    try:
        from triton.runtime.cache import triton_key
    except ImportError:
        from triton.compiler.compiler import triton_key
    triton_key()


# --- in the child -----------------------------------------------------------------------------------------------------


def _build_in_child(job: BuildJob, report: Report) -> bytes:
    try:
        traced = trace(job.kernel, job.problem, job.device, Path.cwd(), report.phase, job.addresses)
    except Rejected as rejected:
        failed = BuildFailed(phase=rejected.phase, reason=rejected.reason)
        return pack(_Answer(failed=failed))
    return pack(_Answer(workloads=tuple(workload.build for workload in traced)), compiled_texts(traced))


def compiled_texts(traced: Sequence[Traced]) -> dict[str, bytes]:
    """Return the compiled texts by kind and digest, `ptx/DIGEST`."""
    texts: dict[str, bytes] = {}
    for workload in traced:
        texts |= {f"ptx/{digest}": text.encode() for digest, text in workload.ptx.items()}
        texts |= {f"cubin/{digest}": code for digest, code in workload.cubin.items()}
        texts |= {f"{ENTRY}/{digest}": entry for digest, entry in workload.entries.items()}
    return texts


# --- in the parent ----------------------------------------------------------------------------------------------------


def _judged(outcome: Outcome, job: BuildJob, store: Store) -> Build:
    if isinstance(outcome, Returned):
        return _explained(_received(outcome.value, job, store), outcome.output)
    if isinstance(outcome, TimedOut):
        reason = bounded(f"not done within {outcome.seconds:g} s, killed in phase {outcome.phase}")
        return BuildFailed(phase=Phase.TIMEOUT, reason=reason)
    if isinstance(outcome, Raised):
        return _raised(outcome)
    output = outcome.output.strip().splitlines()
    last = f"; last output: {output[-1][:300]}" if output else ""
    return BuildFailed(
        phase=Phase.CRASH, reason=bounded(f"the process {outcome.reason} in phase {outcome.phase}{last}")
    )


def _raised(outcome: Raised) -> BuildFailed:
    """Return the failure for an exception that ended the child: an exit, or no memory.

    Raises:
        ProblemError: the problem's reference cannot be traced.
        WorkerDied: the exception came before the candidate was imported.
    """
    if outcome.phase not in (Phase.IMPORT, Phase.TRACE):  # from then on a candidate may have named the exception
        if outcome.kind == ProblemError.__name__:
            raise ProblemError(outcome.message)
        raise WorkerDied(f"tracing failed before the candidate was imported: {outcome.kind}: {outcome.message}")
    return BuildFailed(phase=Phase.CRASH, reason=bounded(f"{outcome.kind} in phase {outcome.phase}: {outcome.message}"))


def _received(data: bytes, job: BuildJob, store: Store) -> Build:
    try:
        answer, texts = _unpacked(data)
    except Malformed:
        return BuildFailed(phase=Phase.CRASH, reason="the process sent something that is no answer")
    if answer.failed is not None:
        return answer.failed.model_copy(update={"reason": bounded(answer.failed.reason)})
    keep_texts(texts, store)
    tools = toolchain(job.device)
    return Built(fingerprint=fingerprint(answer.workloads, tools), workloads=answer.workloads)


def _explained(build: Build, output: str) -> Build:
    """Add to a compile failure the errors that the compiler's passes wrote to stderr and nowhere else."""
    if not isinstance(build, BuildFailed) or build.phase is not Phase.COMPILE:
        return build
    lines = [neutral(line.strip(), Path(".")) for line in output.splitlines() if "error:" in line]
    errors = "\n".join(line for line in dict.fromkeys(lines) if line not in build.reason)
    return build.model_copy(update={"reason": bounded(f"{build.reason}\n{errors}")})


def _unpacked(data: bytes) -> tuple[_Answer, dict[str, bytes]]:
    """Answer and compiled texts, each checked against its digest.

    Raises:
        Malformed: the bytes are not such an answer.
    """
    answer, texts = unpack(data, _Answer)
    check_texts(texts)
    return answer, texts


def check_texts(texts: Mapping[str, bytes]) -> None:
    """Check compiled texts by kind and digest, as a child sends them.

    Raises:
        Malformed: a text does not match the digest in its name, or is not of the kind that its name says.
    """
    check_digests(texts)
    for name, content in texts.items():
        if _kind(name) not in _SUFFIXES or (_kind(name) == ENTRY and not is_entry(content)):
            raise Malformed("the answer holds a text that is none of its kind")


def keep_texts(texts: Mapping[str, bytes], store: Store) -> None:
    """Keep checked texts in the store, each under its digest."""
    for name, content in texts.items():
        store.put_blob(_kind(name), content, _SUFFIXES[_kind(name)])


def _kind(name: str) -> str:
    """Return the kind of the compiled text that has this name in an answer."""
    return name.partition("/")[0]
