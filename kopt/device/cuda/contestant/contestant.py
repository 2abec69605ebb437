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

from kopt.device.build.kernel_sources import load_kernel
from kopt.device.build.precompiled import Precompiled, install, quiet_compiler
from kopt.device.cuda.contestant.draw_in_memory import DrawInMemory, hand_over, in_memory
from kopt.device.cuda.contestant.private_arguments import PrivateArguments, private_arguments
from kopt.device.cuda.contestant.reply import Reply, packed
from kopt.device.cuda.contestant.run_draw import DrawReport, run_draw
from kopt.device.cuda.driver import leave
from kopt.device.cuda.recording.capture import CallCapture
from kopt.device.cuda.sharing.sheets import Assignment
from kopt.device.reference import contract
from kopt.device.reference.rejection import Rejected, describe, on_workload
from kopt.model.build import Phase
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem
from kopt.sandbox.child import Task
from kopt.sandbox.pipe import Report

ONE_QUEUE: Mapping[str, str] = {"CUDA_DEVICE_MAX_CONNECTIONS": "1"}
"""Environment in which CUDA makes one queue for launches in place of eight: a context then takes a third of the time,
and the contexts of all processes of a host are made one after the other.  Nothing is timed in a contestant."""
TUNING_MS = {"warmup": 5, "rep": 40}
"""Time for which an autotuner's configuration is warmed up, and timed, ms: Triton's 25 and 100 take seconds where some
contestants tune at a time, and are no more exact there."""
LATE_CALLS, LATE_S = 100, 0.1
"""Calls, and seconds that they may take, between the recording and the late draws."""


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
    arguments: dict[str, PrivateArguments] = {}
    for sheet in sheets:
        if sheet.workload.name not in arguments:
            arguments[sheet.workload.name] = private_arguments(options.problem, sheet)
    draws = in_memory(sheets)
    before, late = draws[: len(draws) - options.late], draws[len(draws) - options.late :]
    install(compiled)
    clock.begin("import")
    report.phase(Phase.IMPORT.value)
    try:
        entry = load_kernel(kernel, Path.cwd())
    except Rejected as rejected:
        return packed(Reply(phase=rejected.phase.value, reason=rejected.reason), capture.binaries)
    clock.begin("verify")
    reports: list[DrawReport] = []
    torch._C._set_deterministic_algorithms(True, warn_only=True)  # new memory is NaN
    run = partial(_run_draws, entry, arguments, capture, report)
    if not run(before, reports):
        return packed(Reply(reports=tuple(reports), seconds=tuple(clock.seconds.items())), capture.binaries)
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
    return packed(recorded.model_copy(update=reported), capture.binaries)


def _tune_quickly(driver: Any) -> None:
    """Let autotuners that do not say how long to time take less time than Triton does by default."""
    from triton.testing import do_bench

    driver.get_benchmarker = lambda: partial(do_bench, **TUNING_MS)


def _run_draws(
    entry: Callable[..., Any], arguments: Mapping[str, PrivateArguments], capture: CallCapture, report: Report,
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
        reports.append(run_draw(entry, draw, arguments[workload], capture))
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


def _call_repeatedly(entry: Callable[..., Any], private: PrivateArguments) -> None:
    """Call the entry point many times without looking at results; an error will come again in the next verified run."""
    arguments = contract.bind_arguments(entry, private.inputs, private.model, private.reference)
    since = time.perf_counter()
    with suppress(Exception), torch.no_grad():
        for _ in range(LATE_CALLS):
            arguments.call(entry)
            torch.cuda.synchronize()
            if time.perf_counter() - since > LATE_S:
                break


def _record(
    entry: Callable[..., Any], problem: Problem, arguments: Mapping[str, PrivateArguments], capture: CallCapture
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
