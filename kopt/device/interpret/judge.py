"""Judge candidates without a GPU, by running them in Triton's interpreter on a problem's small workloads.

The contestant, a forked child in its cage, draws the inputs, imports the candidate, calls it on every draw and sends
back nothing but outputs.  The judge draws the same inputs, computes the expected outputs after the candidate has
ended, and compares.  So a candidate makes its own outputs, and never its verdict.

The judge checks that

- outputs are right on at least five draws of at least three distributions over all small workloads, in type, shape,
  dtype, device and values, where output memory starts as NaN;
- inputs are unchanged, unless the problem allows changes;
- the launches of one recorded call, replayed on new inputs (`kopt.device.interpret.interpreted_call`), make the right
  output for those;
- the ghost call, in which every launch is left out, does not give the right output;
- calls on devices with other numbers of multiprocessors are right, if the candidate asks for the device;
- every configuration of its autotuners is right.

Code that attacks the contestant's own process could report its inputs as unchanged or its ghost output as wrong.  It
would still have to send right outputs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from kopt.artifact import digest
from kopt.device.interpret.contestant import Reply, VerifyJob, contest, input_digests, verdict_draws
from kopt.device.reference.calibration import calibrate
from kopt.device.reference.compare import compare
from kopt.device.reference.distributions import Case, Draw, make_case
from kopt.device.reference.expected_output import expected_output
from kopt.device.reference.facts import input_names
from kopt.device.reference.outputs import Contract, Described
from kopt.device.reference.rejection import Rejected, bounded, no_launch_reason, right_ghost_reason
from kopt.errors import ProblemError
from kopt.model.build import Phase
from kopt.model.verdict import Check, Failed, Incorrect, Passed, Verdict
from kopt.sandbox.cage import Limits
from kopt.sandbox.pipe import Malformed
from kopt.sandbox.pool import Died, Outcome, Raised, Returned, TimedOut, run_forked
from kopt.sandbox.reply import unpack

JUDGE = "interpret"
OUTPUT_LIMIT = 256 << 20
"""Largest size of all outputs of a candidate together, bytes."""


def verify_all(
    jobs: Sequence[VerifyJob], *, workers: int, limits: Limits | None = None
) -> Iterator[tuple[int, Verdict]]:
    """Judge every job, `workers` at a time; yield (index, verdict) as the contestants end.

    Call it in a process of its own, before anything imports Triton.

    Raises:
        ProblemError: a reference cannot be run, or its checks accept a wrong output on the small workloads.
    """
    _import_interpreter()
    for problem in {digest(job.problem): job.problem for job in jobs}.values():
        refusal = calibrate(problem, problem.small).refusal
        if refusal:
            raise ProblemError(refusal)
    limits = dataclasses.replace(limits or Limits(), result_bytes=OUTPUT_LIMIT)
    tasks = [contest(job) for job in jobs]
    for index, outcome in run_forked(tasks, workers=workers, limits=limits):
        yield index, _verdict(jobs[index], outcome)


def _import_interpreter() -> None:
    """Import Triton and what interprets its kernels, so that contestants need not; start no threads.

    A forked child would lose threads.
    """
    torch.set_num_threads(1)

    from kopt.device.interpret import facade, launch  # noqa: F401 - imported once here instead of in every contestant


@dataclass(frozen=True)
class _Sent:
    """One call as the judge reads it."""

    output: Described
    data: bytes
    inputs: tuple[str, ...]
    launches: int
    phase: Phase | None
    """Phase in which the call failed; None when it did not fail."""
    reason: str
    note: str


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
    sent, further = sent[: len(inputs.draws) + 2], sent[len(inputs.draws) + 2 :]
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
    if len(sent) != len(inputs.draws) + 2:
        return _failure(Phase.CRASH, f"{len(sent)} outputs came back instead of {len(inputs.draws) + 2}")
    if _is_right(job, inputs.ghost, sent[-1]):
        return Incorrect(
            judge=JUDGE,
            reason=right_ghost_reason(job.kernel.language),
            checks=tuple(checks),
        )
    for run in further:
        failure = _check_call(job, inputs.further, run, [])
        if failure is not None:
            return failure.model_copy(
                update={"reason": f"{run.note}: {failure.reason}" if run.note else failure.reason}
            )
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
    return [
        _Sent(head.output, outputs.get(str(place), b""), head.inputs, head.launches, head.phase, head.reason, head.note)
        for place, head in enumerate(reply.heads)
    ]


def _check_call(job: VerifyJob, draw: Draw, run: _Sent, checks: list[Check]) -> Failed | Incorrect | None:
    """Return the verdict on a call that is not right; for a right one None, with its check added to `checks`."""
    if run.phase is not None:
        return _failure(run.phase, run.reason)
    case = make_case(job.problem, draw)
    if not run.launches:
        return _failure(Phase.FALLBACK, no_launch_reason(job.kernel.language))
    changed = _mutated(job, case, run)
    if changed:
        return _failure(
            Phase.MUTATION, f"input {changed} is changed by the candidate, which the problem does not allow"
        )
    expected = expected_output(job.problem, case)
    violation = expected.contract.violation(run.output)
    if violation:
        return _failure(Phase.CONTRACT, violation)
    comparison = compare(_tensor(run.data, expected.contract), expected, draw)
    checks.extend([comparison.check] if comparison.check else [])
    if comparison.right:
        return None
    return Incorrect(judge=JUDGE, reason=comparison.reason, checks=tuple(checks))


def _check_replay(job: VerifyJob, draw: Draw, run: _Sent, checks: tuple[Check, ...]) -> Failed | Incorrect | None:
    """Return the verdict on launches that are not right on new inputs; None for right ones."""
    if run.phase is not None:
        return _failure(run.phase, f"run again on new inputs: {run.reason}")
    expected = expected_output(job.problem, make_case(job.problem, draw))
    reason = (
        expected.contract.violation(run.output) or compare(_tensor(run.data, expected.contract), expected, draw).reason
    )
    if not reason:
        return None
    reason = f"its launches, run again from their record on new inputs, do not make the result: {reason}"
    return Incorrect(judge=JUDGE, reason=reason, checks=checks)


def _is_right(job: VerifyJob, draw: Draw, run: _Sent) -> bool:
    case = make_case(job.problem, draw)
    expected = expected_output(job.problem, case)
    if run.phase is not None or expected.contract.violation(run.output):
        return False
    return compare(_tensor(run.data, expected.contract), expected, draw).right


def _mutated(job: VerifyJob, case: Case, run: _Sent) -> str:
    """Name the first input or parameter that the candidate changed and must not change; empty for none."""
    names = [*input_names(case.model, len(case.inputs)), *case.model.state_dict()]
    for name, before, after in zip(names, input_digests(case), [*run.inputs, *[""] * len(names)], strict=False):
        if before != after and name not in job.problem.mutates:
            return name
    return ""


def _tensor(data: bytes, expected: Contract) -> torch.Tensor:
    """Return the output with these bytes; NaN throughout when their number is not that of the expected output."""
    output = torch.full(expected.shape, float("nan")).to(expected.dtype)
    if len(data) == output.numel() * output.element_size() and data:
        output = torch.frombuffer(bytearray(data), dtype=expected.dtype).reshape(expected.shape)
    return output
