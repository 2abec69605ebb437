"""Run a candidate in kopt's interpreter, for the judge without a GPU (`kopt.device.interpret.judge`).

The contestant draws the inputs, imports the candidate, calls it on every draw, replays one of the calls on new inputs,
makes the ghost call (with every launch left out) on new memory of two kinds, and sends back nothing but outputs.  It is
forked from a process that has imported Triton and the interpreter.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import torch
from pydantic import field_validator
from torch.utils._pytree import tree_map

from kopt.artifact import text_digest
from kopt.device.draws.distributions import Case, Draw, make_case, plan
from kopt.device.draws.forms import further_edges
from kopt.device.draws.seeds import derive_seed
from kopt.device.expected.outputs import DescribedOutput, described_tensor, same_arguments
from kopt.device.interpret.guard import NoComputing, fill_new_memory
from kopt.device.interpret.interpreted_call import InterpretedCall, storage_range
from kopt.device.interpret.session import Session
from kopt.device.reference import contract
from kopt.device.reference.contract import tensor_arguments
from kopt.device.reference.layout import assign, words
from kopt.device.reference.rejection import Rejected, describe
from kopt.device.reference.tree import TakenApart, taken_apart
from kopt.model.base import Value
from kopt.model.build import Phase
from kopt.model.kernel import Kernel
from kopt.model.language import Language
from kopt.model.problem import Problem
from kopt.sandbox.child import Task
from kopt.sandbox.pipe import Report
from kopt.sandbox.reply import pack

Tensors = Mapping[str, bytes]
"""Bytes of the tensors of one call by name; see `contest`."""
GHOST_FILLS = (False, True)
"""Values of `Session.other_fill` in the ghost calls: an output of truth values may be full of one of them by right."""
MOST_FURTHER_CALLS = 64
"""Most calls that are made after the ghost call."""


class VerifyJob(Value):
    """One kernel to judge."""

    kernel: Kernel
    problem: Problem
    seed: int
    """The run's seed; inputs follow from it and the kernel's digest."""

    @field_validator("problem")
    @classmethod
    def _nothing_hidden(cls, problem: Problem) -> Problem:
        return problem.without_hidden()


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
    draws = plan(job.problem.small, *seed, further=further_edges(job.problem))
    recorded = derive_seed(*seed, "recorded") % len(draws)
    replayed = Draw(draws[recorded].workload, "normal", derive_seed(*seed, "replayed"))
    ghost, further = (Draw(job.problem.small[-1], "normal", derive_seed(*seed, use)) for use in ("ghost", "further"))
    return VerdictDraws(draws, ghost, recorded, replayed, further)


class Head(Value):
    """The contestant's description of one call."""

    output: DescribedOutput = DescribedOutput("")
    arguments: tuple[str, ...] = ()
    """Digests of the tensors among the arguments after the call, in the order of `tensor_arguments`."""
    launches: int = 0
    phase: Phase | None = None
    """Phase in which the call failed; None when it did not."""
    reason: str = ""
    note: str = ""
    """What was special about the call, in words for the verdict."""


class Reply(Value):
    """All that a contestant says, beside the bytes of its tensors."""

    heads: tuple[Head, ...] = ()
    """Heads of the calls, one each."""
    phase: Phase | None = None
    """Phase in which the candidate failed before its first call; None when it did not."""
    reason: str = ""


def contest(job: VerifyJob) -> Task:
    """Make the contestant's task.

    The task returns a `Reply`, and the bytes of tensors: `3/output/0` is the first tensor of the output of the fourth
    call, and `3/argument/1` the second tensor among its arguments, which is sent only if the call has changed it.
    """

    def task(report: Report) -> bytes:
        torch.set_num_threads(1)
        session = _interpreting_session(job.kernel.language)
        inputs = verdict_draws(job)
        cases = [make_case(job.problem, draw) for draw in (*inputs.draws, inputs.ghost, inputs.replayed)]
        fill_new_memory()
        report.phase(Phase.IMPORT.value)
        folder = Path.cwd()
        from kopt.device.build.kernel_sources import load_kernel  # here, because it imports Triton

        try:
            entry = load_kernel(job.kernel, folder)
        except Rejected as rejected:
            return pack(Reply(phase=rejected.phase, reason=rejected.reason))
        report.phase(Phase.INTERPRET.value)
        runs = []
        further = _further_runs(session, job, entry, inputs, folder)
        for run in chain(_runs(session, entry, cases, inputs, folder, report), further):
            runs.append(run)
            if run[0].phase is not None:
                break
        outputs = {f"{place}/{name}": data for place, (_, sent) in enumerate(runs) for name, data in sent.items()}
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
    session: Session, entry: Callable[..., object], cases: Sequence[Case], inputs: VerdictDraws, folder: Path,
    report: Report,
) -> Iterator[tuple[Head, Tensors]]:  # fmt: skip
    """Call the entry point on every draw, replay the recorded call right after it, and make the ghost calls last."""
    *drawn, ghost, fresh = cases
    first: dict[str, Case] = {}
    for turn, (draw, made) in enumerate(zip(inputs.draws, drawn, strict=True)):
        report.phase(phase_on(draw))
        session.turn, case = turn, _at_same_addresses(first.setdefault(draw.workload.name, made), made)
        session.call = call = InterpretedCall() if turn == inputs.recorded else None
        output, head, data = _run(session, partial(_call, entry, case), case, folder)
        session.call = None
        yield head, data
        if call is not None:
            yield _replay(session, call, output, case, fresh, folder)
    session.turn, session.ghost = len(drawn), True
    report.phase(phase_on(inputs.ghost))
    for other_fill in GHOST_FILLS:
        session.other_fill = other_fill
        yield _run(session, partial(_call, entry, ghost), ghost, folder)[1:]
    session.other_fill = False


def phase_on(draw: Draw) -> str:
    """Return the name of the phase in which a candidate is called on a draw, which names the draw's workload."""
    return f"{Phase.INTERPRET.value} {draw.workload.name}"


def _at_same_addresses(first: Case, case: Case) -> Case:
    """Return a case with its values where those of its workload's first draw were: a result cached by address is stale.

    A case of other sizes, or whose inputs share memory, stays where it is.
    """
    places, values = (tensor_arguments(one.model, one.inputs) for one in (first, case))
    if first is case or list(places) != list(values) or not all(_same_layout(places[n], values[n]) for n in places):
        return case
    if _sharing(list(places.values())) != _sharing(list(values.values())):
        return case
    for name, place in places.items():
        place.untyped_storage().copy_(values[name].untyped_storage())
    kept = {id(value): places[name] for name, value in values.items()}
    return dataclasses.replace(case, model=first.model, inputs=tree_map(lambda v: kept.get(id(v), v), case.inputs))


def _sharing(tensors: Sequence[torch.Tensor]) -> list[int]:
    """Return for each tensor the place of the first one in the same storage."""
    storages = [tensor.untyped_storage().data_ptr() for tensor in tensors]
    return [storages.index(storage) for storage in storages]


def _same_layout(old: torch.Tensor, new: torch.Tensor) -> bool:
    sizes = [(t.shape, t.stride(), t.dtype, t.storage_offset(), t.untyped_storage().nbytes()) for t in (old, new)]
    return sizes[0] == sizes[1]


def _further_runs(
    session: Session, job: VerifyJob, entry: Callable[..., object], inputs: VerdictDraws, folder: Path
) -> Iterator[tuple[Head, Tensors]]:
    """Call the candidate on other devices, if it has asked for the device, and with every configuration.

    For another device the candidate is imported again, since it may ask when it is imported.  A call on a device of
    one multiprocessor that launches nothing, and one with a configuration that the candidate's own pruning leaves out
    and that fails, are passed over.
    """
    from kopt.device.build.kernel_sources import load_kernel  # here, because they import Triton
    from kopt.device.interpret import facade

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
                entry = load_kernel(job.kernel, folder)
            except Rejected as rejected:
                yield Head(phase=rejected.phase, reason=rejected.reason, note=note), {}
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
) -> tuple[Head, Tensors]:
    """Put new inputs in the place of those of a recorded call, and repeat its launches."""
    before = tensor_arguments(fresh.model, fresh.inputs)
    for name, old in tensor_arguments(case.model, case.inputs).items():
        if name in before:
            assign(old, before[name])

    def replayed() -> object:
        with torch.inference_mode():  # where inference tensors may be written to, too
            session.replay(call)
        return output

    return _run(session, replayed, case, folder)[1:]


def _run(session: Session, call: Callable[[], object], case: Case, folder: Path) -> tuple[object, Head, Tensors]:
    """Make one call as the candidate: return its output, a description of the call, and the bytes of its tensors.

    The bytes are copied at once.
    """
    from kopt.device.interpret.facade import CudaFacade  # here, because it imports Triton

    launches, guard, arguments = session.launches, NoComputing(session), tensor_arguments(case.model, case.inputs)
    session.given = [storage_range(tensor) for tensor in arguments.values()]
    before = digests(arguments.values())
    failure: Rejected | None = None
    output: object = None
    parts = TakenApart()
    try:
        with CudaFacade(session), torch.no_grad(), guard:
            output = call()
            parts = taken_apart(output, "output", (torch.Tensor,))
    except Rejected as rejected:
        failure = rejected
    except Exception as error:  # noqa: BLE001 - whatever a candidate raises is its result
        failure = Rejected(_phase_of(error), describe(error, folder))
    failure = guard.violation or failure
    if failure is not None:
        return None, Head(phase=failure.phase, reason=failure.reason), {}
    tensors = list(parts.tensors.values())
    after = digests(arguments.values())
    head = Head(
        output=DescribedOutput(
            parts.structure, tuple(map(described_tensor, tensors)), same_arguments(tensors, arguments)
        ),
        arguments=after,
        launches=session.launches - launches,
    )
    sent = {f"output/{place}": tensor_bytes(tensor) for place, tensor in enumerate(tensors)}
    for place, tensor in enumerate(arguments.values()):
        if after[place] != before[place]:
            sent[f"argument/{place}"] = tensor_bytes(tensor)
    return output, head, sent


def _phase_of(error: Exception) -> Phase:
    """Return the phase in which an error of a candidate belongs."""
    from triton.compiler.errors import CompilationError  # here, because it imports Triton

    return Phase.COMPILE if isinstance(error, CompilationError) else Phase.INTERPRET


def tensor_bytes(tensor: torch.Tensor) -> bytes:
    """Return the elements of a tensor as bytes, in the order of a contiguous tensor."""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def digests(tensors: Iterable[torch.Tensor]) -> tuple[str, ...]:
    """Return the SHA-256 of each tensor."""
    return tuple(hashlib.sha256(words(tensor).numpy().tobytes()).hexdigest() for tensor in tensors)
