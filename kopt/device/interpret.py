"""The judge without a GPU: candidates run in Triton's interpreter on a problem's small workloads.

The contestant, a forked child in its cage, draws the inputs, imports the candidate, runs it on every draw and sends
back nothing but outputs.  The judge, here, draws the same inputs, makes the answers after the candidate has ended, and
compares.  A candidate can make its own outputs and no verdict.

Checked: at least five draws of at least three distributions on all small workloads; type, shape, dtype, device and
finiteness; output memory starts as NaN; inputs are unchanged unless the problem allows it; and the ghost replay, the
candidate run once more with its launches left out, must not be right.  Code that attacks the child's own interpreter
could report its inputs as unchanged or its ghost as wrong; it still has to send right outputs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kopt.artifact import digest, text_digest
from kopt.device import contract
from kopt.device.cage import Limits
from kopt.device.distributions import Case, Draw, derive_seed, make_case, plan
from kopt.device.facts import input_names
from kopt.device.fork import Died, Outcome, Raised, Returned, TimedOut, run_forked
from kopt.device.fork_child import Task
from kopt.device.pipe import Report
from kopt.device.rejection import Rejected, bounded, describe
from kopt.device.verify import Contract, Described, compare, described, expected
from kopt.device.verify_calibration import calibrate
from kopt.errors import DeviceError, ProblemError
from kopt.model.base import Value
from kopt.model.build import Phase
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem
from kopt.model.verdict import Check, Failed, Incorrect, Passed, Verdict

JUDGE = "interpret"
OUTPUT_LIMIT = 256 << 20
"""Most bytes that a candidate's outputs may have together."""


class VerifyJob(Value):
    """One kernel to judge."""

    kernel: Kernel
    problem: Problem
    seed: int
    """The run's seed; inputs follow from it and the kernel's digest."""


def verify_all(
    jobs: Sequence[VerifyJob], *, workers: int, limits: Limits | None = None
) -> Iterator[tuple[int, Verdict]]:
    """Judge every job, `workers` at a time; yields (index, verdict) as they end.

    Call it in a process of its own, before anything imports Triton.

    Raises:
        DeviceError: Triton was imported without its interpreter.
        ProblemError: a reference cannot be run, or no check can tell right from wrong on its small workloads.
    """
    _prepare()
    for problem in {digest(job.problem): job.problem for job in jobs}.values():
        refusal = calibrate(problem, problem.small).refusal
        if refusal:
            raise ProblemError(refusal)
    limits = dataclasses.replace(limits or Limits(), result_bytes=OUTPUT_LIMIT)
    tasks = [_contest(job) for job in jobs]
    for index, outcome in run_forked(tasks, workers=workers, limits=limits):
        yield index, _verdict(jobs[index], outcome)


def _prepare() -> None:
    """Import Triton with its interpreter and patch it; stay without threads, which a fork would lose."""
    torch.set_num_threads(1)
    os.environ["TRITON_INTERPRET"] = "1"
    import triton.language

    if not type(triton.language.sum).__name__.startswith("Interpreted"):
        raise DeviceError("Triton was imported without its interpreter: judge in a process of its own")
    from kopt.device import interpret_facade, interpret_patch

    interpret_patch.install()
    interpret_facade.install()


def _draws(job: VerifyJob) -> tuple[tuple[Draw, ...], Draw]:
    """The draws of a verdict, and the one of the ghost replay."""
    seed = (job.seed, text_digest(job.kernel.source))
    smallest = job.problem.small[-1]
    return plan(job.problem.small, *seed), Draw(smallest, "normal", derive_seed(*seed, "ghost"))


# --- the contestant ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Head:
    """What the contestant says of one run; the output's bytes follow all heads."""

    output: Described
    bytes: int
    inputs: tuple[str, ...]
    """Digests of the input tensors after the run."""
    launches: int
    error: str = ""
    """What the run raised, or empty."""


def _contest(job: VerifyJob) -> Task:
    def task(report: Report) -> bytes:
        from kopt.device.interpret_session import SESSION

        os.environ["TRITON_INTERPRET"] = "1"
        torch.set_num_threads(1)
        draws, ghost = _draws(job)
        cases = [make_case(job.problem, draw) for draw in (*draws, ghost)]
        _fill_new_memory()
        report.phase(Phase.IMPORT.value)
        folder = Path.cwd()
        try:
            entry = contract.load_candidate(job.kernel, folder)
        except Rejected as rejected:
            return _sent([_failed(rejected.phase, rejected.reason)], [])
        report.phase(Phase.INTERPRET.value)
        heads, outputs = [], []
        for turn, case in enumerate(cases):
            SESSION.turn, SESSION.ghost = turn, turn == len(draws)
            head, data = _run(entry, case, folder)
            heads.append(dataclasses.asdict(head))
            outputs.append(data)
            if head.error:
                break
        return _sent(heads, outputs)

    return task


def _fill_new_memory() -> None:
    """Fill memory that torch leaves uninitialised with NaN, or with the largest integer.

    This is `torch.use_deterministic_algorithms` without its import of the compiler, which takes a second.
    """
    torch._C._set_deterministic_algorithms(True, warn_only=True)


def _failed(phase: Phase, reason: str) -> dict[str, Any]:
    return {"phase": phase.value, "reason": reason}


def _sent(heads: list[dict[str, Any]], outputs: list[bytes]) -> bytes:
    head = json.dumps(heads).encode()
    return b"".join([len(head).to_bytes(8, "little"), head, *outputs])


def _run(entry: Callable[..., Any], case: Case, folder: Path) -> tuple[_Head, bytes]:
    """One run of the candidate, its output copied out at once."""
    from kopt.device.interpret_facade import facade
    from kopt.device.interpret_guard import NoComputing
    from kopt.device.interpret_session import SESSION

    before, guard = SESSION.launches, NoComputing()
    try:
        arguments = contract.bind_arguments(entry, case.inputs, case.model, case.reference)
        with facade(), torch.no_grad(), guard:
            output = arguments.call(entry)
        if guard.violation is not None:
            raise guard.violation
    except Rejected as rejected:
        return _Head(Described(""), 0, (), 0, f"{rejected.phase.value}\n{rejected.reason}"), b""
    except Exception as error:  # noqa: BLE001 - whatever a candidate raises is its result
        return _Head(Described(""), 0, (), 0, f"{Phase.INTERPRET.value}\n{describe(error, folder)}"), b""
    what = described(output)
    data = _bytes(output) if what.kind == "Tensor" else b""
    return _Head(what, len(data), _input_digests(case), SESSION.launches - before), data


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _input_digests(case: Case) -> tuple[str, ...]:
    """Digest of each input tensor and parameter, in order; empty for what is no tensor."""
    values = [*case.inputs, *case.model.state_dict().values()]
    return tuple(
        hashlib.sha256(_bytes(value)).hexdigest() if isinstance(value, torch.Tensor) else "" for value in values
    )


# --- the judge --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sent:
    """One run as the judge reads it."""

    output: Described
    data: bytes
    inputs: tuple[str, ...]
    launches: int
    error: str


class _Malformed(Exception):
    """The contestant's reply is none."""


def _verdict(job: VerifyJob, outcome: Outcome) -> Verdict:
    match outcome:
        case Returned(value):
            return _judged(job, value)
        case TimedOut(phase, seconds):
            return _failure(Phase.TIMEOUT, f"no result after {seconds:g} s (phase {phase})")
        case Died(reason, phase, output):
            tail = f"\n{output[-300:].strip()}" if output.strip() else ""
            return _failure(Phase.CRASH, f"the process {reason} (phase {phase}){tail}")
        case Raised(kind, message, _, phase):
            return _failure(Phase.CRASH, f"{kind}: {message} (phase {phase})")


def _failure(phase: Phase, reason: str) -> Failed:
    return Failed(judge=JUDGE, phase=phase, reason=bounded(reason))


def _judged(job: VerifyJob, reply: bytes) -> Verdict:
    draws, ghost = _draws(job)
    try:
        sent = _read(reply)
    except Rejected as rejected:
        return _failure(rejected.phase, rejected.reason)
    except _Malformed:
        return _failure(Phase.CRASH, "the reply is malformed")
    checks: list[Check] = []
    for draw, run in zip(draws, sent, strict=False):
        wrong = _check(job, draw, run, checks)
        if wrong is not None:
            return wrong
    if len(sent) != len(draws) + 1:
        return _failure(Phase.CRASH, f"{len(sent)} outputs came back instead of {len(draws) + 1}")
    if _is_right(job, ghost, sent[-1]):
        return Incorrect(
            judge=JUDGE,
            reason="with every kernel launch left out the output is still right: the Triton kernel does not make it",
            checks=tuple(checks),
        )
    return Passed(judge=JUDGE, checks=tuple(checks))


def _read(reply: bytes) -> list[_Sent]:
    """The runs of a reply, with nothing taken on trust.

    Raises:
        Rejected: the contestant says that the candidate did not get as far as a run.
        _Malformed: it is not such a reply.
    """
    try:
        start = 8 + int.from_bytes(reply[:8], "little")
        heads = json.loads(reply[8:start])
        if len(heads) == 1 and "phase" in heads[0]:
            raise Rejected(Phase(heads[0]["phase"]), str(heads[0]["reason"]))
        sent = []
        for head in heads:
            end = start + int(head["bytes"])
            sent.append(_read_one(head, reply[start:end]))
            start = end
        return sent
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError) as error:
        raise _Malformed from error


def _read_one(head: dict[str, Any], data: bytes) -> _Sent:
    output = head["output"]
    shape = tuple(int(size) for size in output["shape"])
    what = Described(str(output["kind"]), shape, str(output["dtype"]), str(output["device"]))
    return _Sent(what, data, tuple(map(str, head["inputs"])), int(head["launches"]), str(head["error"]))


def _check(job: VerifyJob, draw: Draw, run: _Sent, checks: list[Check]) -> Verdict | None:
    """What is wrong with one run; None, and a check added, when nothing is."""
    if run.error:
        phase, _, reason = run.error.partition("\n")
        known = phase in list(Phase)
        return _failure(Phase(phase) if known else Phase.INTERPRET, reason if known else run.error)
    case = make_case(job.problem, draw)
    if not run.launches:
        return _failure(Phase.FALLBACK, "the entry point launches no Triton kernel")
    changed = _mutated(job, case, run)
    if changed:
        return _failure(
            Phase.MUTATION, f"input {changed} is changed by the candidate, which the problem does not allow"
        )
    wanted = expected(job.problem, case)
    violation = wanted.contract.violation(run.output)
    if violation:
        return _failure(Phase.CONTRACT, violation)
    comparison = compare(_tensor(run.data, wanted.contract), wanted, draw)
    checks.extend([comparison.check] if comparison.check else [])
    if comparison.right:
        return None
    return Incorrect(judge=JUDGE, reason=comparison.reason, checks=tuple(checks))


def _is_right(job: VerifyJob, draw: Draw, run: _Sent) -> bool:
    case = make_case(job.problem, draw)
    wanted = expected(job.problem, case)
    if run.error or wanted.contract.violation(run.output):
        return False
    return compare(_tensor(run.data, wanted.contract), wanted, draw).right


def _mutated(job: VerifyJob, case: Case, run: _Sent) -> str:
    """Name of the first input or parameter that changed and may not; empty when there is none."""
    names = [*input_names(case.model, len(case.inputs)), *case.model.state_dict()]
    for name, before, after in zip(names, _input_digests(case), [*run.inputs, *[""] * len(names)], strict=False):
        if before != after and name not in job.problem.mutates:
            return name
    return ""


def _tensor(data: bytes, wanted: Contract) -> torch.Tensor:
    """The output from its bytes; NaN where there are too few."""
    output = torch.full(wanted.shape, float("nan")).to(wanted.dtype)
    if len(data) == output.numel() * output.element_size() and data:
        output = torch.frombuffer(bytearray(data), dtype=wanted.dtype).reshape(wanted.shape)
    return output
