"""Judge candidates without a GPU, by running them in kopt's interpreter on a problem's small workloads.

The contestant, a forked child in its cage, draws the inputs, imports the candidate, calls it on every draw and sends
back nothing but outputs.  The judge draws the same inputs, computes the expected outputs after the candidate has
ended, and compares.  So a candidate makes its own outputs, and never its verdict.

The judge checks that

- outputs are right on draws of every kind over all small workloads, in type, shape,
  dtype, device and values, where output memory starts as NaN;
- inputs that the reference changes are changed alike, and all others unchanged;
- the launches of one recorded call, replayed on new inputs (`kopt.device.interpret.interpreted_call`), make the right
  output for those;
- the ghost call, in which every launch is left out, does not give the right output, whatever new memory holds;
- calls on devices with other numbers of multiprocessors are right, if the candidate asks for the device;
- every configuration of its autotuners is right.

Code that attacks the contestant's own process could report its inputs as unchanged or its ghost output as wrong.  It
would still have to send right outputs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from kopt.artifact import digest
from kopt.device.draws.distributions import Case, Draw, make_case, plan
from kopt.device.draws.forms import find_forms, further_edges
from kopt.device.draws.kinds import GIVEN
from kopt.device.expected.calibration import calibrate
from kopt.device.expected.compare_result import compare_result
from kopt.device.expected.expected_output import expected_result
from kopt.device.expected.outputs import Contract, ResultContract, changed_reason, may_change, run_reference
from kopt.device.expected.tf32 import fitting
from kopt.device.interpret.contestant import GHOST_FILLS, Head, Reply, VerifyJob, contest, digests, verdict_draws
from kopt.device.reference.contract import tensor_arguments
from kopt.device.reference.file_name import folder_of
from kopt.device.reference.rejection import Rejected, bounded, no_launch_reason, on_workload, right_ghost_reason
from kopt.device.reference.signature import signature_of
from kopt.device.reference.tree import tensors_of
from kopt.errors import ProblemError
from kopt.model.build import Phase
from kopt.model.problem import Problem, Workload
from kopt.model.verdict import Check, Failed, Incorrect, Passed, Verdict
from kopt.sandbox.cage import Limits
from kopt.sandbox.pipe import Malformed
from kopt.sandbox.pool import Died, Outcome, Raised, Returned, TimedOut, run_forked
from kopt.sandbox.reply import unpack

JUDGE = "interpret"
OUTPUT_LIMIT = 256 << 20
"""Largest size of all outputs of a candidate together, bytes."""
CALLED_BYTES = 4 << 20
"""Inputs up to this size, bytes, are computed to see how large outputs are; larger ones become meta tensors, which take
torch longer to load than that."""


def verify_all(
    jobs: Sequence[VerifyJob], *, workers: int, limits: Limits | None = None
) -> Iterator[tuple[int, Verdict]]:
    """Judge every job, `workers` at a time; yield (index, verdict) as the contestants end.

    Call it in a process of its own, before anything imports Triton.

    Raises:
        ProblemError: a reference cannot be run, its outputs are too large, or its checks accept a wrong output on the
            small workloads.
    """
    _import_interpreter()
    for problem in {digest(job.problem): job.problem for job in jobs}.values():
        check_size(problem)
        refusal = calibrate(problem, problem.small).refusal
        if refusal:
            raise ProblemError(refusal)
        find_forms(problem)
    limits = dataclasses.replace(limits or Limits(), result_bytes=OUTPUT_LIMIT)
    tasks = [contest(job) for job in jobs]
    for index, outcome in run_forked(tasks, workers=workers, limits=limits):
        yield index, _verdict(jobs[index], outcome)


def check_size(problem: Problem) -> None:
    """Check that the outputs of all calls of a verdict fit into what a contestant may send.

    Raises:
        ProblemError: they do not; the message names the largest small workload.
    """
    sizes = {workload.name: _output_bytes(problem, workload) for workload in problem.small}
    largest = max(sizes, key=lambda name: sizes[name])
    calls = [draw.workload.name for draw in plan(problem.small, 0, further=further_edges(problem))] + [
        *[problem.small[-1].name] * len(GHOST_FILLS),
        largest,
    ]
    total = sum(sizes[name] for name in calls)
    if total > OUTPUT_LIMIT:
        raise ProblemError(
            f"{problem.name}: small workload {largest} is too large to be judged without a GPU: the outputs of one "
            f"kernel's {len(calls)} calls take {total / 1e6:,.0f} MB, and {OUTPUT_LIMIT / 1e6:,.0f} MB is the limit; "
            "choose smaller sizes in problem.yaml"
        )


def _output_bytes(problem: Problem, workload: Workload) -> int:
    """Return the size of all outputs of a call, the changed arguments included, bytes.

    Raises:
        ProblemError: the reference does not run.
    """
    case = make_case(problem, Draw(workload, GIVEN, 0))
    if _bytes(tensors_of([case.inputs, *case.model.parameters()])) <= CALLED_BYTES:
        try:
            return _bytes(run_reference(problem, case).tensors)
        except ProblemError as error:
            raise ProblemError(f"{folder_of(problem.name)}{error}") from error
    signature = signature_of(problem, workload)
    changed = [spec for spec in signature.inputs if spec.name in problem.mutates]
    return sum(spec.bytes for spec in (*signature.outputs, *changed))


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _import_interpreter() -> None:
    """Import Triton and what interprets its kernels, so that contestants need not; start no threads.

    A forked child would lose threads.
    """
    torch.set_num_threads(1)

    # Imported once here instead of in every contestant.
    import triton.experimental.gluon
    import triton.language.extra.libdevice  # noqa: F401 - by its compiler

    from kopt.device.build import kernel_sources  # noqa: F401
    from kopt.device.interpret import facade, launch  # noqa: F401


@dataclass(frozen=True)
class _Sent:
    """One call as the judge reads it."""

    head: Head
    tensors: Mapping[str, bytes]
    """Bytes of tensors by name."""


def _verdict(job: VerifyJob, outcome: Outcome) -> Verdict:
    match outcome:
        case Returned(value):
            return _judged(job, value)
        case TimedOut(phase, seconds):
            return _failure(Phase.TIMEOUT, _where(job, phase, f"no result after {seconds:g} s"))
        case Died(reason, phase, output):
            tail = f"\n{output[-300:].strip()}" if output.strip() else ""
            return _failure(Phase.CRASH, _where(job, phase, f"the process {reason}") + tail)
        case Raised(kind, message, _, phase):
            return _failure(Phase.CRASH, _where(job, phase, f"{kind}: {message}"))


def _where(job: VerifyJob, phase: str, reason: str) -> str:
    """Say in which phase, and on which workload, a candidate's process ended (`phase_on`)."""
    kind, _, name = phase.partition(" ")
    workload = next((one for one in job.problem.small if one.name == name), None)
    reason = f"{reason} (phase {kind})"
    return on_workload(workload, reason, "small") if workload else reason


def _noted(verdict: Failed | Incorrect, note: str) -> Verdict:
    """Return a verdict with a note before its reason."""
    return verdict.model_copy(update={"reason": bounded(f"{note}: {verdict.reason}")}) if note else verdict


def _failure(phase: Phase, reason: str) -> Failed:
    return Failed(judge=JUDGE, phase=phase, reason=bounded(reason))


def _judged(job: VerifyJob, reply: bytes) -> Verdict:
    inputs = verdict_draws(job)
    try:
        sent = _read(reply)
    except Rejected as rejected:
        return _failure(rejected.phase, rejected.reason)
    except Malformed:
        return _failure(Phase.CRASH, "the reply is malformed")
    count = len(inputs.draws) + 1 + len(GHOST_FILLS)
    sent, further = sent[:count], sent[count:]
    after = inputs.recorded + 1
    replayed, runs = sent[after : after + 1], [*sent[:after], *sent[after + 1 :]]
    checks: list[Check] = []
    for draw, run in zip(inputs.draws, runs, strict=False):
        failure = _check_call(job, draw, run, checks)
        if failure is not None:
            return failure
        if draw is inputs.draws[inputs.recorded] and replayed:
            failure = _check_replay(job, inputs.replayed, replayed[0], tuple(checks))
            if failure is not None:
                return failure
    if len(sent) != count:
        return _failure(Phase.CRASH, f"{len(sent)} outputs came back instead of {count}")
    if all(_is_right(job, inputs.ghost, run) for run in sent[-len(GHOST_FILLS) :]):
        return Incorrect(
            judge=JUDGE,
            reason=right_ghost_reason(job.kernel.language),
            checks=tuple(checks),
        )
    for run in further:
        failure = _check_call(job, inputs.further, run, [])
        if failure is not None:
            return _noted(failure, run.head.note)
    return Passed(judge=JUDGE, checks=tuple(checks))


def _read(data: bytes) -> list[_Sent]:
    """Read the runs of a contestant's reply, and trust nothing in it.

    Raises:
        Rejected: the contestant reports that the candidate failed before its first run.
        Malformed: the reply cannot be parsed.
    """
    reply, outputs = unpack(data, Reply)
    if reply.phase is not None:
        raise Rejected(reply.phase, reply.reason)
    return [_Sent(head, _of_call(place, outputs)) for place, head in enumerate(reply.heads)]


def _of_call(place: int, tensors: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the bytes of one call's tensors."""
    prefix = f"{place}/"
    return {name.removeprefix(prefix): data for name, data in tensors.items() if name.startswith(prefix)}


def _check_call(job: VerifyJob, draw: Draw, run: _Sent, checks: list[Check]) -> Failed | Incorrect | None:
    """Return the verdict on a call that is not right; for a right one None, with its check added to `checks`."""
    if run.head.phase is not None:
        return _failure(run.head.phase, on_workload(draw.workload, run.head.reason, draw.kind))
    case = make_case(job.problem, draw)
    if not run.head.launches:
        return _failure(Phase.FALLBACK, on_workload(draw.workload, no_launch_reason(job.kernel.language), draw.kind))
    expected = expected_result(job.problem, case)
    forbidden = [name for name in _changed(case, run) if not may_change(name, expected.contract.changed)]
    if forbidden:
        return _failure(Phase.MUTATION, changed_reason(forbidden[0]))
    violation = expected.contract.violation(run.head.output)
    if violation:
        return _failure(Phase.CONTRACT, on_workload(draw.workload, violation, draw.kind))
    comparison = compare_result(_tensors(run, case, expected.contract), expected, draw, case)
    checks.extend([comparison.check] if comparison.check else [])
    if comparison.right:
        return None
    reason = bounded(fitting(comparison.reason, job.kernel.source))
    return Incorrect(judge=JUDGE, reason=reason, checks=tuple(checks))


def _check_replay(job: VerifyJob, draw: Draw, run: _Sent, checks: tuple[Check, ...]) -> Failed | Incorrect | None:
    """Return the verdict on launches that are not right on new inputs; None for right ones."""
    if run.head.phase is not None:
        reason = f"run again on new inputs: {run.head.reason}"
        return _failure(run.head.phase, on_workload(draw.workload, reason, draw.kind))
    reason = _wrong(job, draw, run)
    if not reason:
        return None
    reason = f"its launches, run again from their record on new inputs, do not make the result: {reason}"
    return Incorrect(judge=JUDGE, reason=bounded(reason), checks=checks)


def _wrong(job: VerifyJob, draw: Draw, run: _Sent) -> str:
    """Describe what is wrong with the result of a call that did not fail; empty when it is right."""
    case = make_case(job.problem, draw)
    expected = expected_result(job.problem, case)
    violation = expected.contract.violation(run.head.output)
    comparison = compare_result(_tensors(run, case, expected.contract), expected, draw, case)
    return violation or fitting(comparison.reason, job.kernel.source)


def _is_right(job: VerifyJob, draw: Draw, run: _Sent) -> bool:
    return run.head.phase is None and not _wrong(job, draw, run)


def _changed(case: Case, run: _Sent) -> list[str]:
    """Name the arguments that the candidate changed."""
    arguments = tensor_arguments(case.model, case.inputs)
    before, after = digests(arguments.values()), [*run.head.arguments, *[""] * len(arguments)]
    return [name for name, one, other in zip(arguments, before, after, strict=False) if one != other]


def _tensors(run: _Sent, case: Case, contract: ResultContract) -> list[torch.Tensor]:
    """Return the tensors of a result: those of the output, then the arguments that the reference changes."""
    outputs = [
        _tensor(run.tensors.get(f"output/{place}", b""), wanted) for place, wanted in enumerate(contract.outputs)
    ]
    arguments = tensor_arguments(case.model, case.inputs)
    places = {name: place for place, name in enumerate(arguments)}
    for wanted in contract.arguments:
        data = run.tensors.get(f"argument/{places[wanted.name]}")
        outputs.append(arguments[wanted.name] if data is None else _tensor(data, wanted))
    return outputs


def _tensor(data: bytes, expected: Contract) -> torch.Tensor:
    """Return the tensor with these bytes; what marks unwritten memory when they are not as many as expected."""
    output = torch.empty(expected.shape, dtype=expected.dtype)
    output.view(-1).view(torch.uint8).fill_(0xFF)
    if len(data) == output.numel() * output.element_size() and data:
        output = torch.frombuffer(bytearray(data), dtype=expected.dtype).reshape(expected.shape)
    return output
