"""Run one candidate's Python code on the GPU, once per draw, in a caged child: the contestant.

A contestant works on copies of its own, at the same addresses for every draw of a workload, so that a result cached by
address is stale.  It copies each output into the referee's memory, records one call of each main workload as a program,
sends its reply, and ends.  Its reply decides nothing: the referee compares outputs, the timer replays programs.
"""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any  # a candidate may return anything, a problem may have any inputs, Triton has no types

import torch
from pydantic import Field

from kopt.device.build.kernel_sources import load_kernel
from kopt.device.build.precompiled import Precompiled, install, quiet_compiler
from kopt.device.cuda.driver import leave
from kopt.device.cuda.recording.capture import CallCapture
from kopt.device.cuda.recording.program import RecordedCall
from kopt.device.cuda.sharing import ipc
from kopt.device.cuda.sharing.sheets import Assignment, DrawInMemory, Sheet, hand_over, in_memory, put_state
from kopt.device.expected.outputs import DescribedOutput, described_tensor, same_arguments
from kopt.device.reference import contract, setup
from kopt.device.reference.layout import assign, differing_bits
from kopt.device.reference.rejection import Rejected, describe, on_workload
from kopt.device.reference.tree import taken_apart
from kopt.model.base import Value
from kopt.model.build import Phase
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem
from kopt.sandbox.child import Task
from kopt.sandbox.pipe import Report
from kopt.sandbox.reply import check_digests, pack, unpack

ONE_QUEUE: Mapping[str, str] = {"CUDA_DEVICE_MAX_CONNECTIONS": "1"}
"""Environment in which CUDA makes one queue for launches in place of eight: a context then takes a third of the time,
and the contexts of all processes of a host are made one after the other.  Nothing is timed in a contestant."""
TUNING_MS = {"warmup": 5, "rep": 40}
"""Time for which an autotuner's configuration is warmed up, and timed, ms: Triton's 25 and 100 take seconds where some
contestants tune at a time, and are no more exact there."""
LATE_CALLS, LATE_S = 100, 0.1
"""Calls, and seconds that they may take, between the recording and the late draws."""


class DrawReport(Value):
    """A contestant's report of one draw."""

    output: DescribedOutput = DescribedOutput("")
    launches: int = 0
    """Triton kernels that the call launched."""
    mutated: tuple[int, ...] = ()
    """Positions of the argument tensors that changed."""
    phase: str = ""
    """Phase in which the run failed; empty when it did not."""
    reason: str = ""
    starved: bool = False
    """The run failed for want of device memory, which neighbours may have taken."""


class Reply(Value):
    """A contestant's reply, beside its cubins."""

    reports: tuple[DrawReport, ...] = ()
    """Reports of the draws that were run, one each."""
    programs: tuple[RecordedCall, ...] = ()
    """Recorded calls of the main workloads, one each."""
    phase: str = ""
    """Phase in which the contestant failed outside a draw; empty when it did not."""
    reason: str = ""
    seconds: tuple[tuple[str, float], ...] = ()
    """Duration of each phase, s."""
    addresses: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    """Addresses of the storages of the argument tensors, by workload."""


@dataclass
class _PrivateArguments:
    """The arguments of one workload in memory of the contestant's own."""

    reference: Any
    model: torch.nn.Module
    inputs: tuple[Any, ...]
    tensors: dict[str, torch.Tensor]
    """All tensors among the arguments, by name."""

    def load(self, draw: DrawInMemory) -> None:
        """Take the values of a draw of the workload."""
        self.inputs = draw.sheet.with_tensors(self.tensors)
        with draw.arguments() as given:
            for name, tensor in given.items():
                assign(self.tensors[name], tensor)

    def changed(self, draw: DrawInMemory) -> tuple[int, ...]:
        """Return the positions of the tensors that no longer have the values of a draw."""
        with draw.arguments() as given:
            differ = [differing_bits(self.tensors[name], tensor) for name, tensor in given.items()]
            flags = torch.stack(differ).tolist() if differ else []
        return tuple(place for place, changed in enumerate(flags) if changed)


@dataclass
class _PhaseClock:
    """Add up the duration of each phase, s."""

    seconds: dict[str, float] = field(default_factory=dict)
    _name: str = "context"
    _since: float = field(default_factory=time.perf_counter)

    def begin(self, name: str) -> None:
        """End the present phase and begin the next one."""
        now = time.perf_counter()
        self.seconds[self._name] = self.seconds.get(self._name, 0.0) + now - self._since
        self._name, self._since = name, now


@dataclass(frozen=True)
class ContestOptions:
    """Options that all contestants of a round share."""

    problem: Problem
    late: int
    """Number of draws, the last ones, that come after the recording and many further calls."""
    driver: Any
    """Triton's driver of the zygote."""


def contest(kernel: Kernel, options: ContestOptions, compiled: Sequence[Precompiled] = ()) -> Task:
    """Make the task of one contestant, to be run in a caged child of the zygote; the task asks for its `Assignment`.

    Args:
        kernel: the candidate.
        options: shared with the other contestants.
        compiled: kernels that the CPU stage compiled for the candidate, which are loaded and not compiled again.
    """

    def task(report: Report) -> bytes:
        try:
            return _contest(kernel, options, compiled, report)
        finally:
            leave()

    return task


def _contest(kernel: Kernel, options: ContestOptions, compiled: Sequence[Precompiled], report: Report) -> bytes:
    """Verify, record and verify again; return the reply."""
    clock, capture = _PhaseClock(), CallCapture()
    quiet_compiler()
    os.environ.update(ONE_QUEUE)
    torch.cuda.init()
    torch.empty(1, device="cuda")
    capture.install(options.driver)
    _tune_quickly(options.driver)
    clock.begin("wait")
    sheets, memory_share = Assignment(*pickle.loads(report.ask()))
    torch.cuda.set_per_process_memory_fraction(memory_share)
    clock.begin("set up")
    arguments: dict[str, _PrivateArguments] = {}
    for sheet in sheets:
        if sheet.workload.name not in arguments:
            arguments[sheet.workload.name] = _private_arguments(options.problem, sheet)
    draws = in_memory(sheets)
    before, late = draws[: len(draws) - options.late], draws[len(draws) - options.late :]
    install(compiled)
    clock.begin("import")
    report.phase(Phase.IMPORT.value)
    try:
        entry = load_kernel(kernel, Path.cwd())
    except Rejected as rejected:
        return _packed(Reply(phase=rejected.phase.value, reason=rejected.reason), capture)
    clock.begin("verify")
    reports: list[DrawReport] = []
    torch._C._set_deterministic_algorithms(True, warn_only=True)  # new memory is NaN
    run = partial(_run_draws, entry, arguments, capture, report)
    if not run(before, reports):
        return _packed(Reply(reports=tuple(reports), seconds=tuple(clock.seconds.items())), capture)
    torch._C._set_deterministic_algorithms(False, warn_only=False)
    clock.begin("record")
    report.phase("record")
    recorded = _record(entry, options.problem, arguments, capture)
    clock.begin("late")
    if not recorded.phase:
        _call_repeatedly(entry, arguments[sheets[-1].workload.name])
        run(late, reports)
    clock.begin("")
    addresses = {
        name: tuple(tensor.untyped_storage().data_ptr() for tensor in private.tensors.values())
        for name, private in arguments.items()
    }
    reported = {"reports": tuple(reports), "seconds": tuple(clock.seconds.items()), "addresses": addresses}
    return _packed(recorded.model_copy(update=reported), capture)


def read_reply(data: bytes) -> tuple[Reply, dict[str, bytes]]:
    """Read a contestant's reply and its cubins, by digest.

    Raises:
        Malformed: the reply cannot be parsed, or a cubin's digest differs from its name.
    """
    reply, binaries = unpack(data, Reply)
    check_digests(binaries)
    return reply, binaries


def _tune_quickly(driver: Any) -> None:
    """Let autotuners that do not say how long to time take less time than Triton does by default."""
    from triton.testing import do_bench

    driver.get_benchmarker = lambda: partial(do_bench, **TUNING_MS)


def _packed(reply: Reply, capture: CallCapture) -> bytes:
    wanted = sorted({name for program in reply.programs for name in program.binaries})
    return pack(reply, {name: capture.binaries[name] for name in wanted})


def _private_arguments(problem: Problem, sheet: Sheet) -> _PrivateArguments:
    with torch.device("cuda"):
        reference = setup.load_reference(problem, sheet.workload)
        model = setup.make_model(reference, problem)
    tensors = ipc.private_all(sheet.arguments)
    put_state(model, tensors)
    return _PrivateArguments(reference, model, sheet.with_tensors(tensors), tensors)


def _run_draws(
    entry: Callable[..., Any], arguments: Mapping[str, _PrivateArguments], capture: CallCapture, report: Report,
    draws: Sequence[DrawInMemory], reports: list[DrawReport],
) -> bool:  # fmt: skip
    """Run draws, add their reports and hand their results over.

    Returns:
        False when a draw failed, and the draws after it were left out.  Where that broke the device, results that have
        not been handed over are lost, so that the first of them fails for the same reason.
    """
    first = len(reports)
    for draw in draws:
        workload = draw.sheet.workload.name
        report.phase(f"verify {workload}")
        reports.append(_run(entry, draw, arguments[workload], capture))
        if reports[-1].phase:
            break
    failed = reports[-1] if reports[-1].phase else None
    try:
        hand_over(draws)
    except Exception:
        if failed is None:
            raise
        reports[first + next(at for at, draw in enumerate(draws) if draw.results) :] = [failed]
    return failed is None


def _call_repeatedly(entry: Callable[..., Any], private: _PrivateArguments) -> None:
    """Call the entry point many times without looking at results; an error will come again in the next verified run."""
    arguments = contract.bind_arguments(entry, private.inputs, private.model, private.reference)
    since = time.perf_counter()
    with suppress(Exception), torch.no_grad():
        for _ in range(LATE_CALLS):
            arguments.call(entry)
            torch.cuda.synchronize()
            if time.perf_counter() - since > LATE_S:
                break


def _run(entry: Callable[..., Any], draw: DrawInMemory, private: _PrivateArguments, capture: CallCapture) -> DrawReport:
    """Run the candidate on one draw and copy its result at once."""
    private.load(draw)
    before, tries = capture.launches, _memory_tries()
    try:
        arguments = contract.bind_arguments(entry, private.inputs, private.model, private.reference)
        with torch.no_grad():
            output = taken_apart(arguments.call(entry), "output", (torch.Tensor,))
        torch.cuda.synchronize()
    except Rejected as rejected:
        return DrawReport(phase=rejected.phase.value, reason=rejected.reason)
    except Exception as error:  # noqa: BLE001 - whatever a candidate raises is its result
        starved = isinstance(error, torch.OutOfMemoryError) or _memory_tries() > tries
        reason = describe(error, Path.cwd())
        return DrawReport(
            phase=Phase.LAUNCH.value, reason=f"out of device memory: {reason}" if starved else reason, starved=starved
        )
    tensors = list(output.tensors.values())
    draw.keep([*tensors, *(private.tensors[name] for name in draw.sheet.changed)])
    same = same_arguments(tensors, private.tensors)
    description = DescribedOutput(output.structure, tuple(map(described_tensor, tensors)), same)
    report = DrawReport(output=description, launches=capture.launches - before)
    return report.model_copy(update={"mutated": private.changed(draw)})


def _memory_tries() -> int:
    """Count how often torch found no device memory and tried once more.

    The count shows a failed allocation where torch raises another error: before its own error, torch asks NVML which
    processes hold the memory, which a caged process may not.
    """
    return int(torch.cuda.memory_stats().get("num_alloc_retries", 0))


def _record(
    entry: Callable[..., Any], problem: Problem, arguments: Mapping[str, _PrivateArguments], capture: CallCapture
) -> Reply:
    """Record one call of each main workload; the verification before has settled all autotuning."""
    programs = []
    for workload in problem.main:
        try:
            private = arguments[workload.name]
            bound = contract.bind_arguments(entry, private.inputs, private.model, private.reference)
            programs.append(capture.program(workload.name, list(private.tensors.values()), partial(bound.call, entry)))
            torch.cuda.synchronize()
        except Rejected as rejected:
            return Reply(phase=rejected.phase.value, reason=on_workload(workload, rejected.reason, "timed"))
        except Exception as error:  # noqa: BLE001 - whatever a candidate raises is its result
            reason = on_workload(workload, describe(error, Path.cwd()), "timed")
            return Reply(phase=Phase.LAUNCH.value, reason=reason)
    return Reply(programs=tuple(programs))
