"""Trace a candidate without a GPU: call its entry point on fake tensors and log what it launches.

All of this happens in a process of the candidate's own, forked by `kopt.device.build.build`: importing a candidate
runs its code, and torch is changed for good.  `Any`: inputs, outputs and entry points are of whatever type the problem
and the candidate choose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import torch
from torch._guards import active_fake_mode
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from kopt.device.build.fake_reference import prepare_fake
from kopt.device.build.hostops import HostOps
from kopt.device.build.kernel_sources import load_kernel
from kopt.device.build.launch_recorder import launches_something, record_launches
from kopt.device.build.precompiled import quiet_compiler
from kopt.device.build.stub_gpu import CUDA, pretend
from kopt.device.build.trace_log import TraceLog, layout
from kopt.device.draws.distributions import Case
from kopt.device.expected.outputs import Result, ResultContract, described, result_contract, run_model
from kopt.device.reference.contract import bind_arguments, build_tensors, tensor_arguments
from kopt.device.reference.layout import copied_inputs
from kopt.device.reference.placement import offsets
from kopt.device.reference.rejection import Rejected, describe, no_launch_reason, on_workload
from kopt.device.reference.setup import load_reference, make_inputs, make_model
from kopt.device.reference.tree import taken_apart
from kopt.errors import ProblemError
from kopt.model.build import Phase, WorkloadBuild
from kopt.model.device import Device
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem, Workload, workload_title

TENSORS = (torch.Tensor, FakeTensor)
"""Types of tensors in a trace."""

BLOCK, BLOCK_BITS = (1 << 60) + (0x5A5A5A << 24), 44
"""Made-up address of the first workload's arguments, which no honest number is, and the bits of the distance to the
next workload's."""


@dataclass(frozen=True)
class Prepared:
    """One workload set up on the (fake) device: reference module, model and inputs."""

    workload: Workload
    reference: ModuleType
    model: torch.nn.Module
    inputs: tuple[Any, ...]
    contract: ResultContract
    """Contract of the result."""


@dataclass(frozen=True)
class Traced:
    """The trace of one workload, with the compiled code that it names by digest."""

    build: WorkloadBuild
    ptx: dict[str, str]
    cubin: dict[str, bytes]
    entries: dict[str, bytes]


def trace(
    kernel: Kernel, problem: Problem, device: Device, folder: Path, announce: Callable[[str], None],
    argument_addresses: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> list[Traced]:  # fmt: skip
    """Trace and compile a candidate on every main workload at its full size.

    Args:
        kernel: the candidate.
        problem: the candidate's problem.
        device: the device to compile for.
        folder: the folder of the candidate's file.
        announce: called with the name of each phase that begins.
        argument_addresses: by workload, addresses of the storages of the tensors that `tensor_arguments` lists; made up
            for a workload that is not named.

    Raises:
        Rejected: the candidate fails or breaks a rule.
        ProblemError: the reference raises.
    """
    log = TraceLog(kernel.language)
    quiet_compiler()
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    with pretend(device, lambda what: log.forbid(f"uses {what}")) as addresses, fake:
        log.is_address = addresses.holds
        prepared = [prepare(problem, workload) for workload in problem.main]
        for turn, one in enumerate(prepared):
            tensors = list(tensor_arguments(one.model, one.inputs).values())
            addresses.place(tensors, argument_addresses.get(one.workload.name) or _made_up(tensors, turn))
        announce(Phase.IMPORT)
        entry = load_kernel(kernel, folder)
        announce(Phase.TRACE)
        return [_traced(entry, workload, log, device, folder) for workload in prepared]


def _made_up(tensors: Sequence[torch.Tensor], turn: int) -> list[int]:
    """Make up addresses for the argument tensors of a workload, at the distances that they have on a GPU.

    A storage of several tensors counts once.
    """
    block = BLOCK + (turn << BLOCK_BITS)
    places, _ = offsets([tensor.untyped_storage().nbytes() for tensor in tensors])
    return [block + place for place in places]


def prepare(problem: Problem, workload: Workload) -> Prepared:
    """Set up one workload on the GPU (a fake one under `pretend`) and run the reference on it.

    Raises:
        ProblemError: the reference raises.
    """
    try:
        if active_fake_mode() is not None:
            return _prepared(problem, workload, *prepare_fake(problem, workload, CUDA))
        with torch.device(CUDA):
            reference = load_reference(problem, workload)
            model = make_model(reference, problem, seed=0)
            inputs = make_inputs(reference, problem, seed=0)
            result = run_model(model, copied_inputs(inputs))
            return _prepared(problem, workload, reference, model, inputs, result)
    except ProblemError as error:
        raise ProblemError(f"{problem.name}, {workload_title(workload.name, 'timed')}: {error}") from error


def _prepared(
    problem: Problem, workload: Workload, reference: ModuleType, model: torch.nn.Module, inputs: tuple[Any, ...],
    result: Result,
) -> Prepared:  # fmt: skip
    contract = result_contract(problem, Case(reference, model, inputs), result)
    return Prepared(workload, reference, model, inputs, contract)


def record_call(
    entry: Callable[..., Any], prepared: Prepared, log: TraceLog, device: Device, *, real: bool = False
) -> WorkloadBuild:
    """Call an entry point on one workload and log what it does.

    Args:
        entry: the candidate's entry point.
        prepared: the workload.
        log: an empty log.
        device: a launch that exceeds its resources is rejected.
        real: run the launches on a real device too.

    Raises:
        Rejected: the candidate breaks a rule.
    """
    arguments = bind_arguments(entry, prepared.inputs, prepared.model, prepared.reference)
    log.name_tensors(build_tensors(prepared.inputs, prepared.model))
    with record_launches(log, device, real=real), HostOps(log), torch.no_grad():
        result = arguments.call(entry)
    if log.violation is not None:
        raise log.violation
    if not any(launches_something(launch) for launch in log.launches):
        raise Rejected(Phase.FALLBACK, no_launch_reason(log.language))
    violation = prepared.contract.violation(described(result, TENSORS))
    if violation:
        raise Rejected(Phase.CONTRACT, violation)
    return WorkloadBuild(
        workload=prepared.workload.name,
        launches=tuple(log.launches),
        host_ops=tuple(log.host_ops),
        output=_output(result, log),
    )


def _output(result: Any, log: TraceLog) -> str:
    """Write what an output consists of."""
    parts = taken_apart(result, "output")
    tensors = [f"{log.pointer(tensor)} {layout(tensor)}" for tensor in parts.tensors.values()]
    return " ".join(tensors if parts.structure == "Tensor" else [parts.structure, *tensors])


def _traced(entry: Callable[..., Any], prepared: Prepared, common: TraceLog, device: Device, folder: Path) -> Traced:
    """Trace one workload with a log of its own.

    Violations that the pretended device notices are in `common`, the log of all workloads.
    """
    if common.violation is not None:
        raise common.violation
    log = TraceLog(common.language, common.is_address)
    try:
        build = record_call(entry, prepared, log, device)
    except Exception as error:
        rejected = _rejection(error, log, common, folder)
        raise Rejected(rejected.phase, on_workload(prepared.workload, rejected.reason, "timed")) from error
    if common.violation is not None:
        raise common.violation
    return Traced(build, log.ptx, log.cubin, log.entries)


def _rejection(error: Exception, log: TraceLog, common: TraceLog, folder: Path) -> Rejected:
    """Return the first failure of a trace that raised `error`."""
    violation = log.violation or common.violation
    if violation is not None:
        return violation
    if isinstance(error, Rejected):
        return error
    if isinstance(error, MemoryError):
        return Rejected(Phase.CRASH, "out of memory")
    phase = Phase.COMPILE if any(error is logged for logged in log.compile_errors) else Phase.TRACE
    return Rejected(phase, describe(error, folder))
