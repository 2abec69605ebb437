"""Trace a candidate without a GPU: call its entry point on fake tensors and see what it would launch.

Everything here happens in a process that is meant for one candidate (`kopt.device.build.build` forks it): importing a
candidate runs it, and torch is changed for good.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from kopt.device.build.hostops import HostOps
from kopt.device.build.launch_recorder import launches_something, record_launches
from kopt.device.build.precompiled import quiet_compiler
from kopt.device.build.stub_gpu import CUDA, pretend
from kopt.device.build.trace_log import TraceLog, layout
from kopt.device.reference.contract import bind_arguments, load_candidate, load_reference, make_inputs, make_model
from kopt.device.reference.rejection import Rejected, describe
from kopt.errors import ProblemError
from kopt.model.build import Phase, WorkloadBuild
from kopt.model.device import Device
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem, Workload


@dataclass(frozen=True)
class Prepared:
    """One workload ready to be called: reference, model and inputs on the (fake) device."""

    workload: Workload
    reference: ModuleType
    model: torch.nn.Module
    inputs: tuple[Any, ...]
    expected: Any
    """What the reference returns."""


@dataclass(frozen=True)
class Traced:
    """The trace of one workload, with the compiled code that it names."""

    build: WorkloadBuild
    ptx: dict[str, str]
    cubin: dict[str, bytes]
    entries: dict[str, bytes]


def trace(
    kernel: Kernel, problem: Problem, device: Device, folder: Path, announce: Callable[[str], None]
) -> list[Traced]:
    """Trace and compile a candidate on every main workload at its full size.

    Args:
        kernel: the candidate.
        problem: its problem.
        device: what to compile for.
        folder: where the candidate's file is written.
        announce: told the name of each phase that begins.

    Raises:
        Rejected: the candidate fails or breaks a rule.
        ProblemError: the reference does.
    """
    recorder = TraceLog()
    quiet_compiler()
    with pretend(device, lambda what: recorder.forbid(f"uses {what}")), FakeTensorMode(allow_non_fake_inputs=True):
        prepared = [prepare(problem, workload) for workload in problem.main]
        announce(Phase.IMPORT)
        entry = load_candidate(kernel, folder)
        announce(Phase.TRACE)
        return [_traced(entry, ready, recorder, device, folder) for ready in prepared]


def prepare(problem: Problem, workload: Workload) -> Prepared:
    """Set up one workload on CUDA (a fake one under `pretend`) and run the reference on it.

    Raises:
        ProblemError: the reference raises.
    """
    reference = load_reference(problem, workload)
    try:
        with torch.device(CUDA), torch.no_grad():
            model = make_model(reference, problem, seed=0)
            inputs = make_inputs(reference, problem, seed=0)
            return Prepared(workload, reference, model, inputs, model(*inputs))
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise ProblemError(f"{problem.name}/problem.py, workload {workload.name}, raises {what}") from error


def record_call(
    entry: Callable[..., Any], ready: Prepared, recorder: TraceLog, device: Device, *, real: bool = False
) -> WorkloadBuild:
    """Call an entry point on one workload and record what it does.

    Args:
        entry: the candidate's entry point.
        ready: the workload.
        recorder: an empty recorder.
        device: limits that a launch must keep.
        real: run the launches on a real device too.

    Raises:
        Rejected: it breaks a rule.
    """
    arguments = bind_arguments(entry, ready.inputs, ready.model, ready.reference)
    recorder.know({f"input {place}": value for place, value in enumerate(ready.inputs)})
    recorder.know({f"model {name}": value for name, value in ready.model.named_parameters()})
    recorder.know({f"model {name}": value for name, value in ready.model.named_buffers()})
    with record_launches(recorder, device, real=real), HostOps(recorder), torch.no_grad():
        result = arguments.call(entry)
    if recorder.violation is not None:
        raise recorder.violation
    if not any(launches_something(launch) for launch in recorder.launches):
        raise Rejected(Phase.FALLBACK, "the entry point launches no Triton kernel")
    check_output(result, ready.expected)
    output = f"{recorder.pointer(result)} {layout(result)}"
    return WorkloadBuild(
        workload=ready.workload.name,
        launches=tuple(recorder.launches),
        host_ops=tuple(recorder.host_ops),
        output=output,
    )


def check_output(result: Any, expected: Any) -> None:
    """Whether the result is what the reference returns, in exact type, shape, dtype and device.

    Raises:
        Rejected: it is not.
    """
    if type(result) is not type(expected):
        raise Rejected(Phase.CONTRACT, f"returns a {_type(result)}, not a {_type(expected)}")
    if isinstance(result, torch.nn.Parameter):
        raise Rejected(Phase.CONTRACT, "returns a Parameter, not a torch.Tensor")
    if not isinstance(expected, torch.Tensor):
        raise Rejected(Phase.CONTRACT, "the reference does not return one tensor")
    for name in ("shape", "dtype", "device"):
        got, want = getattr(result, name), getattr(expected, name)
        if got != want:
            raise Rejected(Phase.CONTRACT, f"the output's {name} is {_plain(got)}, not {_plain(want)}")


def _type(value: Any) -> str:
    return "torch.Tensor" if type(value) in (torch.Tensor, FakeTensor) else type(value).__name__


def _plain(value: Any) -> str:
    return str(tuple(value)) if isinstance(value, torch.Size) else str(value)


def _traced(entry: Callable[..., Any], ready: Prepared, common: TraceLog, device: Device, folder: Path) -> Traced:
    """Trace one workload with a recorder of its own; violations reach it through the common one as well."""
    if common.violation is not None:
        raise common.violation
    recorder = TraceLog()
    try:
        build = record_call(entry, ready, recorder, device)
    except Exception as error:
        raise _rejection(error, recorder, common, folder) from error
    if common.violation is not None:
        raise common.violation
    return Traced(build, recorder.ptx, recorder.cubin, recorder.entries)


def _rejection(error: Exception, recorder: TraceLog, common: TraceLog, folder: Path) -> Rejected:
    """The first thing that went wrong, as a rejection."""
    violation = recorder.violation or common.violation
    if violation is not None:
        return violation
    if isinstance(error, Rejected):
        return error
    if isinstance(error, MemoryError):
        return Rejected(Phase.CRASH, "out of memory")
    phase = Phase.COMPILE if any(error is known for known in recorder.compile_errors) else Phase.TRACE
    return Rejected(phase, describe(error, folder))
