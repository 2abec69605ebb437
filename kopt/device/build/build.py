"""The CPU stage: trace and compile candidates, many at a time, each in a caged child; no GPU is needed.

A candidate that fails is data (`BuildFailed` with phase and reason).  What a child sends is checked, never unpickled.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from kopt.sandbox.cage import Limits
from kopt.device.build.fingerprint import fingerprint, toolchain
from kopt.sandbox.pool import Outcome, Raised, Returned, TimedOut, run_forked
from kopt.sandbox.pipe import Malformed, Report
from kopt.device.build.precompiled import ENTRY
from kopt.device.reference.rejection import Rejected, bounded, neutral
from kopt.device.screen.rules import screen
from kopt.device.build.trace import Traced, trace
from kopt.errors import ProblemError, WorkerDied
from kopt.model.base import Value
from kopt.model.build import Build, BuildFailed, Built, Phase, WorkloadBuild
from kopt.model.device import Device
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem
from kopt.sandbox.reply import check_digests, pack, unpack
from kopt.store import Store

LIMITS = Limits(wall_s=120.0, data_bytes=6 << 30)
"""Enough for some dozens of autotuner configurations."""

TOO_DEEP = "the source is nested too deeply to be parsed"

_SUFFIXES = {"ptx": ".ptx", "cubin": ".cubin", ENTRY: ".json"}


class BuildJob(Value):
    """One candidate to build."""

    kernel: Kernel
    problem: Problem
    device: Device


class _Answer(Value):
    """What a child sends, beside the compiled texts."""

    failed: BuildFailed | None = None
    workloads: tuple[WorkloadBuild, ...] = ()


def build_all(
    jobs: Sequence[BuildJob], *, store: Store, workers: int, limits: Limits = LIMITS
) -> Iterator[tuple[int, Build]]:
    """Build every job, `workers` at a time; yields (index, build) as they finish.

    PTX, cubins and what loads them are kept in `store` under the digests that the builds name (kinds `ptx`, `cubin`
    and `entry`).

    Raises:
        ProblemError: a problem's reference cannot be traced; no candidate is to blame.
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


def check_syntax(kernel: Kernel) -> BuildFailed | None:
    """The failure of a source that does not parse, or has no such function at its top level; None when it has."""
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(kernel.source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        text = (getattr(error, "text", None) or "").strip()
        where = f"line {line}: " if line else ""
        return BuildFailed(
            phase=Phase.SYNTAX,
            reason=bounded(
                where + (getattr(error, "msg", "") or str(error) or TOO_DEEP) + (f"\n  {text}" if text else "")
            ),
        )
    if not kernel.source.strip():
        return BuildFailed(phase=Phase.ENTRY, reason=f"the file is empty: it is to define a function {kernel.entry}")
    bound = {name for node in ast.walk(tree) for name in _names(node)}
    if not bound & {kernel.entry, "*"}:
        return BuildFailed(phase=Phase.ENTRY, reason=f"the module defines no function {kernel.entry}")
    return None


def _names(node: ast.AST) -> tuple[str, ...]:
    """Names that a node may bind in its module."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
        return (node.name,)
    if isinstance(node, ast.Name):
        return (node.id,)
    if isinstance(node, ast.alias):
        return (node.asname or node.name,)
    return ()


@cache
def warm_up(arch: int) -> None:
    """Do once, before forking, what costs seconds the first time.

    Triton hashes itself and asks ptxas for its version; a first fake tensor imports half of torch.
    """
    from triton.backends.compiler import GPUTarget
    from triton.compiler.compiler import make_backend

    make_backend(GPUTarget("cuda", arch, 32)).hash()
    try:
        from triton.runtime.cache import triton_key
    except ImportError:
        from triton.compiler.compiler import triton_key
    triton_key()
    with FakeTensorMode(), torch.no_grad():
        one = torch.empty(2, 2).uniform_()
        torch.nn.functional.softmax(one @ one, dim=-1).to(torch.bfloat16)


# --- in the child -----------------------------------------------------------------------------------------------------


def _build_in_child(job: BuildJob, report: Report) -> bytes:
    try:
        traced = trace(job.kernel, job.problem, job.device, Path.cwd(), report.phase)
    except Rejected as rejected:
        failed = BuildFailed(phase=rejected.phase, reason=rejected.reason)
        return pack(_Answer(failed=failed))
    return pack(_Answer(workloads=tuple(workload.build for workload in traced)), _compiled_texts(traced))


def _compiled_texts(traced: Sequence[Traced]) -> dict[str, bytes]:
    """Compiled texts by kind and digest, `ptx/DIGEST`."""
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
        reason = f"not done within {outcome.seconds:g} s, killed in phase {outcome.phase}"
        return BuildFailed(phase=Phase.TIMEOUT, reason=reason)
    if isinstance(outcome, Raised):
        return _raised(outcome)
    output = outcome.output.strip().splitlines()
    last = f"; last output: {output[-1][:300]}" if output else ""
    return BuildFailed(
        phase=Phase.CRASH, reason=bounded(f"the process {outcome.reason} in phase {outcome.phase}{last}")
    )


def _raised(outcome: Raised) -> BuildFailed:
    """What escapes from the child's own handling: a bad problem, an exit, no memory, or a fault of ours.

    Raises:
        ProblemError, WorkerDied: no candidate was running yet.
    """
    if outcome.kind == ProblemError.__name__:
        raise ProblemError(outcome.message)
    if outcome.phase not in (Phase.IMPORT, Phase.TRACE):
        raise WorkerDied(f"tracing failed before the candidate was imported: {outcome.kind}: {outcome.message}")
    return BuildFailed(phase=Phase.CRASH, reason=bounded(f"{outcome.kind} in phase {outcome.phase}: {outcome.message}"))


def _received(data: bytes, job: BuildJob, store: Store) -> Build:
    try:
        answer, texts = _unpacked(data)
    except Malformed:
        return BuildFailed(phase=Phase.CRASH, reason="the process sent something that is no answer")
    if answer.failed is not None:
        return answer.failed
    for name, content in texts.items():
        kind = _kind(name)
        store.put_blob(kind, content, _SUFFIXES[kind])
    tools = toolchain(job.device)
    return Built(fingerprint=fingerprint(answer.workloads, tools), workloads=answer.workloads)


def _explained(build: Build, output: str) -> Build:
    """A compile failure with what the compiler's passes said on stderr, where alone some of them say it."""
    if not isinstance(build, BuildFailed) or build.phase is not Phase.COMPILE:
        return build
    lines = [neutral(line.strip(), Path(".")) for line in output.splitlines() if "error:" in line]
    said = "\n".join(line for line in dict.fromkeys(lines) if line not in build.reason)
    return build.model_copy(update={"reason": bounded(f"{build.reason}\n{said}")})


def _unpacked(data: bytes) -> tuple[_Answer, dict[str, bytes]]:
    """Answer and compiled texts, each checked against its digest.

    Raises:
        Malformed: the bytes are not such an answer.
    """
    answer, texts = unpack(data, _Answer)
    check_digests(texts)
    if any(_kind(name) not in _SUFFIXES for name in texts):
        raise Malformed("the answer holds a text of an unknown kind")
    return answer, texts


def _kind(name: str) -> str:
    """Kind of the compiled text that has this name in an answer."""
    return name.partition("/")[0]
