"""Run a candidate in Triton's interpreter, for the judge without a GPU (`kopt.device.interpret.judge`).

It draws the inputs, imports the candidate, runs it on every draw, once more from its record on new inputs, and once
with its launches left out, and sends back nothing but outputs.  It is forked from a process that has patched Triton.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from kopt.artifact import text_digest
from kopt.device.reference import contract
from kopt.device.reference.compare import Described, described
from kopt.device.reference.distributions import Case, Draw, derive_seed, make_case, plan
from kopt.device.reference.rejection import Rejected, describe
from kopt.model.base import Value
from kopt.model.build import Phase
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem
from kopt.sandbox.child import Task
from kopt.sandbox.pipe import Report
from kopt.sandbox.reply import pack

if TYPE_CHECKING:
    from kopt.device.interpret.launch_record import InterpretedCall


class VerifyJob(Value):
    """One kernel to judge."""

    kernel: Kernel
    problem: Problem
    seed: int
    """The run's seed; inputs follow from it and the kernel's digest."""


class Plan(NamedTuple):
    """Which inputs a kernel gets."""

    draws: tuple[Draw, ...]
    ghost: Draw
    recorded: int
    """The draw whose launches are run again."""
    replayed: Draw
    """New inputs for them."""


def planned(job: VerifyJob) -> Plan:
    """The inputs of a verdict; they follow from the job."""
    seed = (job.seed, text_digest(job.kernel.source))
    draws = plan(job.problem.small, *seed)
    recorded = derive_seed(*seed, "recorded") % len(draws)
    replayed = Draw(draws[recorded].workload, "normal", derive_seed(*seed, "replayed"))
    return Plan(draws, Draw(job.problem.small[-1], "normal", derive_seed(*seed, "ghost")), recorded, replayed)


class Head(Value):
    """What the contestant says of one run."""

    output: Described
    inputs: tuple[str, ...] = ()
    """Digests of the input tensors after the run."""
    launches: int = 0
    phase: Phase | None = None
    """Where the run failed; None when it did not."""
    reason: str = ""


class Reply(Value):
    """All that a contestant says, beside the bytes of its outputs."""

    heads: tuple[Head, ...] = ()
    """One for each run."""
    phase: Phase | None = None
    """Where the candidate failed before its first run; None when it did not."""
    reason: str = ""


def contest(job: VerifyJob) -> Task:
    """Make the contestant's task; it returns a `Reply` and, under the position of each run, the bytes of its output."""

    def task(report: Report) -> bytes:
        os.environ["TRITON_INTERPRET"] = "1"
        torch.set_num_threads(1)
        inputs = planned(job)
        cases = [make_case(job.problem, draw) for draw in (*inputs.draws, inputs.ghost, inputs.replayed)]
        _fill_new_memory()
        report.phase(Phase.IMPORT.value)
        folder = Path.cwd()
        try:
            entry = contract.load_candidate(job.kernel, folder)
        except Rejected as rejected:
            return pack(Reply(phase=rejected.phase, reason=rejected.reason))
        report.phase(Phase.INTERPRET.value)
        runs = []
        for run in _runs(entry, cases, inputs, folder):
            runs.append(run)
            if run[0].phase is not None:
                break
        outputs = {str(place): data for place, (_, data) in enumerate(runs)}
        return pack(Reply(heads=tuple(head for head, _ in runs)), outputs)

    return task


def _fill_new_memory() -> None:
    """Fill memory that torch leaves uninitialised with NaN, or with the largest integer.

    This is `torch.use_deterministic_algorithms` without its import of the compiler, which takes a second.
    """
    torch._C._set_deterministic_algorithms(True, warn_only=True)


def _runs(entry: Callable[..., Any], cases: Sequence[Case], inputs: Plan, folder: Path) -> Iterator[tuple[Head, bytes]]:
    """A run on every draw, the replay of one of them after it, and last the ghost."""
    from kopt.device.interpret.launch_record import InterpretedCall
    from kopt.device.interpret.session import SESSION

    *drawn, ghost, fresh = cases
    for turn, case in enumerate(drawn):
        SESSION.turn = turn
        SESSION.record = record = InterpretedCall() if turn == inputs.recorded else None
        output, head, data = _run(lambda case=case: _call(entry, case), case, folder)  # type: ignore[misc]
        SESSION.record = None
        yield head, data
        if record is not None:
            yield _replay(record, output, case, fresh, folder)
    SESSION.turn, SESSION.ghost = len(drawn), True
    yield _run(lambda: _call(entry, ghost), ghost, folder)[1:]


def _call(entry: Callable[..., Any], case: Case) -> Any:
    arguments = contract.bind_arguments(entry, case.inputs, case.model, case.reference)
    return arguments.call(entry)


def _replay(record: InterpretedCall, output: Any, case: Case, fresh: Case, folder: Path) -> tuple[Head, bytes]:
    """What the launches of a run make of new inputs, which take the place of its own."""
    for mine, new in zip(_values(case), _values(fresh), strict=True):
        if isinstance(mine, torch.Tensor):
            mine.untyped_storage().copy_(new.untyped_storage())

    def again() -> Any:
        with torch.inference_mode():  # in which all tensors may be written to, those that were made in it too
            record.replay()
        return output

    return _run(again, case, folder)[1:]


def _run(call: Callable[[], Any], case: Case, folder: Path) -> tuple[Any, Head, bytes]:
    """One run of the candidate: its output, what is said of it, and its bytes, copied out at once."""
    from kopt.device.interpret.facade import facade
    from kopt.device.interpret.guard import NoComputing
    from kopt.device.interpret.session import SESSION

    before, guard = SESSION.launches, NoComputing()
    failure: Rejected | None = None
    output: Any = None
    try:
        with facade(), torch.no_grad(), guard:
            output = call()
    except Rejected as rejected:
        failure = rejected
    except Exception as error:  # noqa: BLE001 - whatever a candidate raises is its result
        failure = Rejected(Phase.INTERPRET, describe(error, folder))
    failure = guard.violation or failure
    if failure is not None:
        return None, Head(output=Described(""), phase=failure.phase, reason=failure.reason), b""
    what = described(output)
    data = _bytes(output) if what.kind == "Tensor" else b""
    head = Head(output=what, inputs=input_digests(case), launches=SESSION.launches - before)
    return output, head, data


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def input_digests(case: Case) -> tuple[str, ...]:
    """SHA-256 of each input tensor, parameter and buffer, in order; empty for what is no tensor."""
    return tuple(
        hashlib.sha256(_bytes(value)).hexdigest() if isinstance(value, torch.Tensor) else "" for value in _values(case)
    )


def _values(case: Case) -> list[Any]:
    """Inputs, then parameters and buffers."""
    return [*case.inputs, *case.model.state_dict().values()]
