"""Run a candidate in Triton's interpreter, for the judge without a GPU (`kopt.device.interpret.judge`).

The contestant draws the inputs, imports the candidate, calls it on every draw, replays one of the calls on new inputs,
makes the ghost call (with every launch left out), and sends back nothing but outputs.  It is forked from a process
that has imported Triton with its interpreter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import torch

from kopt.artifact import text_digest
from kopt.device.interpret.guard import NoComputing, fill_new_memory
from kopt.device.interpret.interpreted_call import InterpretedCall
from kopt.device.interpret.session import Session
from kopt.device.reference import contract
from kopt.device.reference.distributions import Case, Draw, derive_seed, make_case, plan
from kopt.device.reference.outputs import Described, described
from kopt.device.reference.rejection import Rejected, describe
from kopt.model.base import Value
from kopt.model.build import Phase
from kopt.model.kernel import Kernel
from kopt.model.language import Language
from kopt.model.problem import Problem
from kopt.sandbox.child import Task
from kopt.sandbox.pipe import Report
from kopt.sandbox.reply import pack

MOST_FURTHER_CALLS = 64
"""Most calls that are made after the ghost call."""


class VerifyJob(Value):
    """One kernel to judge."""

    kernel: Kernel
    problem: Problem
    seed: int
    """The run's seed; inputs follow from it and the kernel's digest."""


class VerdictDraws(NamedTuple):
    """The inputs on which a verdict rests."""

    draws: tuple[Draw, ...]
    """Inputs of the calls."""
    ghost: Draw
    """Inputs of the ghost call."""
    recorded: int
    """Position among `draws` of the call that is recorded."""
    replayed: Draw
    """New inputs for the recorded call."""
    further: Draw
    """Inputs of the calls after the ghost call."""


def verdict_draws(job: VerifyJob) -> VerdictDraws:
    """Derive the inputs of a verdict from the job, so that judge and contestant draw the same."""
    seed = (job.seed, text_digest(job.kernel.source))
    draws = plan(job.problem.small, *seed)
    recorded = derive_seed(*seed, "recorded") % len(draws)
    replayed = Draw(draws[recorded].workload, "normal", derive_seed(*seed, "replayed"))
    ghost, further = (Draw(job.problem.small[-1], "normal", derive_seed(*seed, use)) for use in ("ghost", "further"))
    return VerdictDraws(draws, ghost, recorded, replayed, further)


class Head(Value):
    """The contestant's description of one call."""

    output: Described
    inputs: tuple[str, ...] = ()
    """Digests of the input tensors after the call."""
    launches: int = 0
    phase: Phase | None = None
    """Phase in which the call failed; None when it did not."""
    reason: str = ""
    note: str = ""
    """What was special about the call, in words for the verdict."""


class Reply(Value):
    """All that a contestant says, beside the bytes of its outputs."""

    heads: tuple[Head, ...] = ()
    """Heads of the calls, one each."""
    phase: Phase | None = None
    """Phase in which the candidate failed before its first call; None when it did not."""
    reason: str = ""


def contest(job: VerifyJob) -> Task:
    """Make the contestant's task: it returns a `Reply` and, under the position of each call, the output's bytes."""

    def task(report: Report) -> bytes:
        torch.set_num_threads(1)
        session = _interpreting_session(job.kernel.language)
        inputs = verdict_draws(job)
        cases = [make_case(job.problem, draw) for draw in (*inputs.draws, inputs.ghost, inputs.replayed)]
        fill_new_memory()
        report.phase(Phase.IMPORT.value)
        folder = Path.cwd()
        try:
            entry = contract.load_candidate(job.kernel, folder)
        except Rejected as rejected:
            return pack(Reply(phase=rejected.phase, reason=rejected.reason))
        report.phase(Phase.INTERPRET.value)
        runs = []
        further = _further_runs(session, job, entry, inputs, folder)
        for run in chain(_runs(session, entry, cases, inputs, folder), further):
            runs.append(run)
            if run[0].phase is not None:
                break
        outputs = {str(place): data for place, (_, data) in enumerate(runs)}
        return pack(Reply(heads=tuple(head for head, _ in runs)), outputs)

    return task


def _interpreting_session(language: Language) -> Session:
    """Make a session and have launches and queries of this process answered by it."""
    from kopt.device.interpret import facade, launch  # here, because they import Triton

    session = Session(language)
    launch.install(session)
    facade.install(session)
    return session


def _runs(
    session: Session, entry: Callable[..., object], cases: Sequence[Case], inputs: VerdictDraws, folder: Path
) -> Iterator[tuple[Head, bytes]]:
    """Call the entry point on every draw, replay the recorded call right after it, and make the ghost call last."""
    *drawn, ghost, fresh = cases
    for turn, case in enumerate(drawn):
        session.turn = turn
        session.call = call = InterpretedCall() if turn == inputs.recorded else None
        output, head, data = _run(session, partial(_call, entry, case), case, folder)
        session.call = None
        yield head, data
        if call is not None:
            yield _replay(session, call, output, case, fresh, folder)
    session.turn, session.ghost = len(drawn), True
    yield _run(session, partial(_call, entry, ghost), ghost, folder)[1:]


def _further_runs(
    session: Session, job: VerifyJob, entry: Callable[..., object], inputs: VerdictDraws, folder: Path
) -> Iterator[tuple[Head, bytes]]:
    """Call the candidate on other devices, if it has asked for the device, and with every configuration.

    For another device the candidate is imported again, since it may ask when it is imported.  A call on a device of
    one multiprocessor that launches nothing, and one with a configuration that the candidate's own pruning leaves out
    and that fails, are passed over.
    """
    from kopt.device.interpret import facade  # here, because it imports Triton

    session.ghost, session.further = False, True
    devices = [facade.FULL_DEVICE, facade.SINGLE_DEVICE] if session.asks_for_device else []
    for turn in range(MOST_FURTHER_CALLS):
        if turn >= len(devices) and not any(session.configurations.values()):
            return
        note, session.turn, session.pruned = "", len(inputs.draws) + turn, ""
        if turn < len(devices):
            note = f"on a device with {devices[turn].sm_count} multiprocessor{'s' * (devices[turn].sm_count > 1)}"
            facade.install(session, devices[turn])
            try:
                entry = contract.load_candidate(job.kernel, folder)
            except Rejected as rejected:
                yield Head(output=Described(""), phase=rejected.phase, reason=rejected.reason, note=note), b""
                return
        case = make_case(job.problem, inputs.further)
        session.empty = False
        head, data = _run(session, partial(_call, entry, case), case, folder)[1:]
        passed_over = (session.pruned and head.phase is not None) or (
            note and devices[turn] is facade.SINGLE_DEVICE and (session.empty or head.phase is not None)
        )
        if not passed_over:
            yield head.model_copy(update={"note": session.pruned or note}), data


def _call(entry: Callable[..., object], case: Case) -> object:
    arguments = contract.bind_arguments(entry, case.inputs, case.model, case.reference)
    return arguments.call(entry)


def _replay(
    session: Session, call: InterpretedCall, output: object, case: Case, fresh: Case, folder: Path
) -> tuple[Head, bytes]:
    """Put new inputs in the place of those of a recorded call, and repeat its launches."""
    for old, new in zip(_values(case), _values(fresh), strict=True):
        if isinstance(old, torch.Tensor) and isinstance(new, torch.Tensor):
            old.untyped_storage().copy_(new.untyped_storage())

    def replayed() -> object:
        with torch.inference_mode():  # where inference tensors may be written to, too
            session.replay(call)
        return output

    return _run(session, replayed, case, folder)[1:]


def _run(session: Session, call: Callable[[], object], case: Case, folder: Path) -> tuple[object, Head, bytes]:
    """Make one call as the candidate: return its output, the output's description, and its bytes, copied at once."""
    from kopt.device.interpret.facade import CudaFacade  # here, because it imports Triton

    before, guard = session.launches, NoComputing(session)
    failure: Rejected | None = None
    output: object = None
    try:
        with CudaFacade(session), torch.no_grad(), guard:
            output = call()
    except Rejected as rejected:
        failure = rejected
    except Exception as error:  # noqa: BLE001 - whatever a candidate raises is its result
        failure = Rejected(_phase_of(error), describe(error, folder))
    failure = guard.violation or failure
    if failure is not None:
        return None, Head(output=Described(""), phase=failure.phase, reason=failure.reason), b""
    what = described(output)
    data = _bytes(output) if what.kind == "Tensor" and isinstance(output, torch.Tensor) else b""
    head = Head(output=what, inputs=input_digests(case), launches=session.launches - before)
    return output, head, data


def _phase_of(error: Exception) -> Phase:
    """Return the phase in which an error of a candidate belongs."""
    from triton.compiler.errors import CompilationError  # here, because it imports Triton

    return Phase.COMPILE if isinstance(error, CompilationError) else Phase.INTERPRET


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def input_digests(case: Case) -> tuple[str, ...]:
    """Return the SHA-256 of each input, parameter and buffer, in order; empty for an input that is no tensor."""
    return tuple(
        hashlib.sha256(_bytes(value)).hexdigest() if isinstance(value, torch.Tensor) else "" for value in _values(case)
    )


def _values(case: Case) -> list[object]:
    """Return the inputs, then parameters and buffers."""
    return [*case.inputs, *case.model.state_dict().values()]
