"""The contestant: a caged child that runs one candidate's Python code on the GPU, once per draw.

It works on copies of its own, at the same addresses for every draw of a workload, so that a result cached by address
is stale.  It copies each output into the referee's memory, records one call per main workload as a program, says so,
and dies.  Nothing that it says decides: outputs are compared by the referee, programs are replayed by the timer.
"""

from __future__ import annotations

import dataclasses
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from kopt.device.build.precompiled import Precompiled, install, quiet_compiler
from kopt.device.cuda import ipc
from kopt.device.cuda.capture import Capture
from kopt.device.cuda.ipc import Shared
from kopt.device.cuda.program import RecordedCall
from kopt.device.cuda.referee import Sheet
from kopt.device.reference import contract
from kopt.device.reference.compare import Described, described
from kopt.device.reference.rejection import Rejected, describe
from kopt.model.base import Value
from kopt.model.build import Phase
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem
from kopt.sandbox.child import Task
from kopt.sandbox.pipe import Report
from kopt.sandbox.reply import check_digests, pack, unpack

LATE_CALLS, LATE_S = 100, 0.1
"""Calls, and seconds that they may take, between the recording and the late draws."""


class Told(Value):
    """What the contestant says of one draw."""

    kind: str = ""
    shape: tuple[int, ...] = ()
    dtype: str = ""
    device: str = ""
    launches: int = 0
    mutated: tuple[int, ...] = ()
    """Positions of the argument tensors that changed."""
    phase: str = ""
    """Where the run failed; empty when it did not."""
    reason: str = ""
    starved: bool = False
    """It failed for want of device memory, which neighbours may have taken."""

    @property
    def output(self) -> Described:
        """The output's description."""
        return Described(self.kind, self.shape, self.dtype, self.device)


class Reply(Value):
    """All that a contestant says, beside its cubins."""

    told: tuple[Told, ...] = ()
    programs: tuple[RecordedCall, ...] = ()
    phase: str = ""
    """Where it failed outside a draw; empty when it did not."""
    reason: str = ""
    seconds: tuple[tuple[str, float], ...] = ()
    """How long each phase took."""


@dataclass
class _Seat:
    """One workload set up on private memory."""

    reference: Any
    model: torch.nn.Module
    inputs: tuple[Any, ...]

    @property
    def tensors(self) -> list[torch.Tensor]:
        """Input tensors, parameters, buffers."""
        named = [*sorted(self.model.named_parameters()), *sorted(self.model.named_buffers())]
        return [v for v in self.inputs if isinstance(v, torch.Tensor)] + [value for _, value in named]


@dataclass
class _Watch:
    """Adds up how long each phase took."""

    seconds: dict[str, float] = field(default_factory=dict)
    _name: str = "context"
    _since: float = field(default_factory=time.perf_counter)

    def phase(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[self._name] = self.seconds.get(self._name, 0.0) + now - self._since
        self._name, self._since = name, now


@dataclass(frozen=True)
class Terms:
    """What all contestants of a round have in common."""

    problem: Problem
    late: int
    """How many draws, the last ones, come after the recording and many more calls."""
    driver: Any
    """Triton's driver of the zygote."""


class Given(NamedTuple):
    """What a contestant is told when it asks."""

    sheets: tuple[Sheet, ...]
    """The draws, with the outputs of its slot."""
    memory_share: float
    """Share of the device's memory that torch may take, 0 to 1."""


def contest(kernel: Kernel, terms: Terms, compiled: Sequence[Precompiled] = ()) -> Task:
    """The task of one contestant, to be run in a caged child of the zygote; it asks for its `Given`, pickled.

    Args:
        kernel: the candidate.
        terms: what it shares with the others.
        compiled: what the CPU stage made of the candidate; it need not be compiled again.
    """

    def task(report: Report) -> bytes:
        try:
            return _contest(kernel, terms, compiled, report)
        finally:
            ipc.leave()

    return task


def _contest(kernel: Kernel, terms: Terms, compiled: Sequence[Precompiled], report: Report) -> bytes:
    """The task's whole course."""
    watch, capture = _Watch(), Capture()
    quiet_compiler()
    torch.cuda.init()
    torch.empty(1, device="cuda")
    capture.install(terms.driver)
    watch.phase("wait")
    mine, share = Given(*pickle.loads(report.ask()))
    torch.cuda.set_per_process_memory_fraction(share)
    watch.phase("set up")
    seats: dict[str, _Seat] = {}
    for sheet in mine:
        if sheet.workload.name not in seats:
            seats[sheet.workload.name] = _seat(terms.problem, sheet)
    install(compiled)
    watch.phase("import")
    report.phase(Phase.IMPORT.value)
    try:
        entry = contract.load_candidate(kernel, Path.cwd())
    except Rejected as rejected:
        return _packed(Reply(phase=rejected.phase.value, reason=rejected.reason), capture)
    watch.phase("verify")
    told: list[Told] = []
    torch._C._set_deterministic_algorithms(True, warn_only=True)  # new memory is NaN
    run = partial(_run_all, entry, seats, capture, report)
    if not run(mine[: len(mine) - terms.late], told):
        return _packed(Reply(told=tuple(told), seconds=tuple(watch.seconds.items())), capture)
    torch._C._set_deterministic_algorithms(False, warn_only=False)
    watch.phase("record")
    report.phase("record")
    recorded = _record(entry, terms.problem, seats, capture)
    watch.phase("late")
    if not recorded.phase:
        _call_on(entry, seats[mine[-1].workload.name])
        run(mine[len(mine) - terms.late :], told)
    watch.phase("")
    return _packed(recorded.model_copy(update={"told": tuple(told), "seconds": tuple(watch.seconds.items())}), capture)


def read_reply(data: bytes) -> tuple[Reply, dict[str, bytes]]:
    """Read a contestant's reply and its cubins, by digest.

    Raises:
        Malformed: it cannot be parsed, or a cubin has another digest than its name says.
    """
    reply, binaries = unpack(data, Reply)
    check_digests(binaries)
    return reply, binaries


def _packed(reply: Reply, capture: Capture) -> bytes:
    wanted = sorted({name for program in reply.programs for name in program.binaries})
    return pack(reply, {name: capture.binaries[name] for name in wanted})


def _seat(problem: Problem, sheet: Sheet) -> _Seat:
    reference = contract.load_reference(problem, sheet.workload)
    with torch.device("cuda"):
        model = contract.make_model(reference, problem)
    inputs = tuple(_private(value) if isinstance(value, Shared) else value for value in sheet.inputs)
    return _Seat(reference, model, inputs)


def _private(shared: Shared) -> torch.Tensor:
    return torch.empty_strided(shared.shape, shared.stride, dtype=getattr(torch, shared.dtype), device="cuda")


def _each(sheet: Sheet, seat: _Seat, do: Callable[[torch.Tensor, torch.Tensor], bool]) -> tuple[int, ...]:
    """Call `do(private, shared)` for each argument tensor; the positions of those for which it is false."""
    bad = []
    handles = [value for value in sheet.inputs if isinstance(value, Shared)] + list(sheet.state)
    for place, (private, shared) in enumerate(zip(seat.tensors, handles, strict=True)):
        opened = ipc.open_shared(shared)
        good = do(private, opened.tensor)
        torch.cuda.synchronize()
        opened.tensor = torch.empty(0)
        opened.close()
        if not good:
            bad.append(place)
    return tuple(bad)


def _load(private: torch.Tensor, shared: torch.Tensor) -> bool:
    private.data.copy_(shared)
    return True


def _unchanged(private: torch.Tensor, shared: torch.Tensor, equal: Callable[..., bool] = torch.equal) -> bool:
    return equal(_words(private), _words(shared))


def _words(tensor: torch.Tensor) -> torch.Tensor:
    """The bits of a tensor, eight bytes at a time where they go in."""
    if not tensor.is_contiguous():
        tensor = tensor.contiguous()
    flat = tensor.data.reshape(-1).view(torch.uint8)
    return flat.view(torch.int64) if flat.numel() % 8 == 0 and flat.data_ptr() % 8 == 0 else flat


def _run_all(
    entry: Callable[..., Any], seats: Mapping[str, _Seat], capture: Capture, report: Report,
    sheets: Sequence[Sheet], told: list[Told],
) -> bool:  # fmt: skip
    """Run draws and add what is to be told of them; False when one failed, and the rest was left."""
    for sheet in sheets:
        report.phase(f"verify {sheet.workload.name}")
        told.append(_run(entry, sheet, seats[sheet.workload.name], capture))
        if told[-1].phase:
            return False
    return True


def _call_on(entry: Callable[..., Any], seat: _Seat) -> None:
    """Many more calls, nothing looked at; what they raise, the next verified run will raise too."""
    arguments = contract.bind_arguments(entry, seat.inputs, seat.model, seat.reference)
    since = time.perf_counter()
    with suppress(Exception), torch.no_grad():
        for _ in range(LATE_CALLS):
            arguments.call(entry)
            torch.cuda.synchronize()
            if time.perf_counter() - since > LATE_S:
                break


def _run(entry: Callable[..., Any], sheet: Sheet, seat: _Seat, capture: Capture) -> Told:
    """One run of the candidate on one draw, its output copied out at once."""
    _each(sheet, seat, _load)
    before, tries = capture.launches, _memory_tries()
    try:
        arguments = contract.bind_arguments(entry, seat.inputs, seat.model, seat.reference)
        with torch.no_grad():
            output = arguments.call(entry)
        torch.cuda.synchronize()
    except Rejected as rejected:
        return Told(phase=rejected.phase.value, reason=rejected.reason)
    except Exception as error:  # noqa: BLE001 - whatever a candidate raises is its result
        starved = isinstance(error, torch.OutOfMemoryError) or _memory_tries() > tries
        reason = describe(error, Path.cwd())
        return Told(
            phase=Phase.LAUNCH.value, reason=f"out of device memory: {reason}" if starved else reason, starved=starved
        )  # fmt: skip
    what = described(output)
    _copy_out(output, sheet.output)
    told = Told(**dataclasses.asdict(what), launches=capture.launches - before)
    return told.model_copy(update={"mutated": _each(sheet, seat, _unchanged)})


def _memory_tries() -> int:
    """How often torch found no device memory and tried once more.

    It tells an allocation that failed where torch raises something else: on its way to its own error it asks NVML who
    holds the memory, which a caged process may not.
    """
    return int(torch.cuda.memory_stats().get("num_alloc_retries", 0))


def _copy_out(output: object, shared: Shared) -> None:
    if type(output) is not torch.Tensor or tuple(output.shape) != shared.shape or not output.is_cuda:
        return
    opened = ipc.open_shared(shared)
    opened.tensor.copy_(output)
    torch.cuda.synchronize()
    opened.tensor = torch.empty(0)
    opened.close()


def _record(entry: Callable[..., Any], problem: Problem, seats: dict[str, _Seat], capture: Capture) -> Reply:
    """One call of each main workload as a program; the verification before it has settled what is autotuned."""
    programs = []
    try:
        for workload in problem.main:
            seat = seats[workload.name]
            arguments = contract.bind_arguments(entry, seat.inputs, seat.model, seat.reference)
            programs.append(capture.program(workload.name, seat.tensors, partial(arguments.call, entry)))
            torch.cuda.synchronize()
    except Rejected as rejected:
        return Reply(phase=rejected.phase.value, reason=rejected.reason)
    except Exception as error:  # noqa: BLE001 - whatever a candidate raises is its result
        return Reply(phase=Phase.LAUNCH.value, reason=describe(error, Path.cwd()))
    return Reply(programs=tuple(programs))
