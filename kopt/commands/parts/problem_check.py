"""Check whether a problem can be judged, a line for each requirement, and estimate what judging costs.

The problem's code runs in the cage: `examined` is called there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal  # inputs are of whatever type a problem chooses

from kopt.errors import KoptError, ProblemError
from kopt.estimate.eager import estimate_eager
from kopt.model.base import Value
from kopt.model.device import Device, estimate_warning
from kopt.model.problem import Problem, ProblemFacts, Workload, WorkloadFacts, WorkloadKind, workload_title
from kopt.roofline import floor_bound, floor_ms

if TYPE_CHECKING:
    import torch

CHECK_S = 600.0
"""Longest time of a check, s."""

START_S = 8.0
"""Time of the processes that build and judge one kernel on an idle machine, beside the work of its draws, s."""

ELEMENTS_S = 1e6
"""Elements of the largest tensor that the interpreter handles in a second on one core, about."""

MOST_FIXED = 16
"""Most fixed values that are named."""

SETS = 3
"""Sets of tensors that a judge on a GPU holds at full size, about: inputs, results, expected results."""


class Line(Value):
    """A requirement, or a fact, and what was found."""

    name: str
    state: Literal["ok", "fails", "note"]
    text: str


class Report(Value):
    """All lines of a check."""

    lines: tuple[Line, ...]

    @property
    def judgeable(self) -> bool:
        """Whether every requirement holds."""
        return all(line.state != "fails" for line in self.lines)


def in_words(report: Report, name: str) -> list[str]:
    """Describe a check for the terminal: the lines, and at last whether the problem can be judged."""
    failed = [line.name for line in report.lines if line.state == "fails"]
    last = f"{name} cannot be judged: {', '.join(failed)}" if failed else f"{name} can be judged"
    return [*(f"{line.state:<6} {line.name:<10} {line.text}" for line in report.lines), last]


def examined(problem: Problem, device: Device, file: str = "") -> Report:
    """Check a problem: whether it runs, what draws keep, whether wrong outputs are refused, what it costs.

    Args:
        problem: the problem.
        device: the GPU for which times are estimated.
        file: name of the reference's file for messages; empty: `problem.py`.
    """
    from kopt.device.reference.file_name import naming

    with naming(file):
        return _examined(problem, device)


def _examined(problem: Problem, device: Device) -> Report:
    lines: list[Line] = []

    def passed(name: str, find: Callable[[], str]) -> bool:
        """Add a requirement's line, and return whether it holds."""
        try:
            lines.append(Line(name=name, state="ok", text=find()))
        except KoptError as error:
            lines.append(Line(name=name, state="fails", text=str(error).removeprefix(f"{problem.name}: ")))
        return lines[-1].state == "ok"

    if passed("reference", lambda: _runs(problem)) and passed("values", lambda: _runs_with_values(problem)):
        lines += _small(problem)
        tried = _without_large(problem)
        passed("inputs", lambda: _draws(tried))
        start = time.monotonic()
        passed("tolerance", lambda: _calibrated(tried))
        lines.append(_verdict_time(problem, time.monotonic() - start))
    if lines[0].state == "ok":
        if problem.has_seed:
            passed("kernel", lambda: _bound(problem))
        else:
            text = f"none: a search makes one of the reference; or write kernel.py with {_call(problem)[0]}"
            lines.append(Line(name="kernel", state="note", text=text))
        lines += [*_fixed(problem), *_sizes(problem)]
        passed("cost", lambda: _cost(problem, device, lines))  # a line for each timed workload
    return Report(lines=tuple(lines))


def _runs(problem: Problem) -> str:
    """Trace the reference at the sizes of every workload."""
    from kopt.device.reference.signature import signature_of

    groups: dict[WorkloadKind, tuple[Workload, ...]] = {
        "timed": problem.main, "hidden": problem.hidden, "small": problem.small,
    }  # fmt: skip
    workloads = [(workload, kind) for kind, group in groups.items() for workload in group]
    for workload, kind in workloads:
        try:
            signature = signature_of(problem, workload)
        except ProblemError as error:
            reason = str(error).removeprefix(f"{problem.name}: ").removeprefix(f"{problem.name}/")
            raise ProblemError(f"{workload_title(workload.name, kind)}: {reason}") from error
        if workload is problem.main[0]:
            first = signature
    if not first.outputs:
        _changes_an_input(problem)
    outputs = ", ".join(f"{o.name} {'x'.join(map(str, o.shape)) or 'one number'} {o.dtype}" for o in first.outputs)
    gives = f"gives {outputs}" if outputs else first.returned_in_words
    return f"runs at the sizes of all {len(workloads)} workloads; {gives}"


def _changes_an_input(problem: Problem) -> None:
    """Check that a reference that returns no tensor changes an input.

    Raises:
        ProblemError: it changes none.
    """
    from kopt.device.draws.distributions import make_case, plan
    from kopt.device.expected.outputs import run_reference

    first = next(iter(plan(problem.small[:1], "check")))
    run_reference(problem, make_case(problem, first))


def _runs_with_values(problem: Problem) -> str:
    from kopt.device.reference.trial import try_values

    for workload in problem.small:
        try:
            try_values(problem, workload.constants)
        except ProblemError as error:
            reason = str(error).removeprefix(f"{problem.name}/")
            raise ProblemError(f"{workload_title(workload.name, 'small')}: {reason}") from error
    return f"runs with values on the CPU: {', '.join(workload.name for workload in problem.small)}"


def _small(problem: Problem) -> list[Line]:
    from kopt.device.interpret.judge import check_size
    from kopt.device.reference.trial import slow_small

    warnings = [slow_small(problem)]
    try:
        check_size(problem)
    except ProblemError as error:
        warnings = [str(error)]
    return [Line(name="small", state="note", text=text.removeprefix(f"{problem.name}: ")) for text in warnings if text]


def _without_large(problem: Problem) -> Problem:
    """Return the problem without small workloads that are not small, so that a check takes seconds."""
    from kopt.device.reference.trial import SLOW, try_sizes

    small = tuple(w for w in problem.small if try_sizes(problem, w.constants).largest <= SLOW)
    return problem.model_copy(update={"small": small or problem.small})


def _draws(problem: Problem) -> str:
    from kopt.device.draws.described import in_words as structure_in_words
    from kopt.device.draws.distributions import DISTRIBUTIONS
    from kopt.device.draws.forms import kinds_outside, structures
    from kopt.device.reference.signature import signature_of

    whole = {spec.name for spec in signature_of(problem, problem.small[0]).inputs if "float" not in spec.dtype}
    kept = [
        f"{name}: {structure_in_words(structure, whole=name in whole)}"
        for name, structure in structures(problem).items()
    ]
    outside = kinds_outside(problem)
    without = f" ({', '.join(outside)} leave the reference's domain)" if outside else ""
    return "; ".join([f"{len(DISTRIBUTIONS) - len(outside)} kinds of values are drawn{without}", *kept])


def _calibrated(problem: Problem) -> str:
    from kopt.device.expected.calibration import calibrate

    calibration = calibrate(problem, problem.small)
    if calibration.refusal:
        raise ProblemError(calibration.refusal)
    source = "declared" if calibration.declared else "follows from the errors of eager PyTorch"
    return f"{source}; {sum(not probe.vacuous for probe in calibration.probes)} kinds of wrong output are refused"


def _call(problem: Problem) -> tuple[str, torch.nn.Module, tuple[Any, ...], ModuleType]:
    """Return how a kernel is called, in words, with the model, inputs and module of the reference."""
    import torch

    from kopt.device.reference import setup
    from kopt.device.reference.contract import input_names

    with torch.device("meta"):
        reference = setup.load_reference(problem, problem.small[0])
        model = setup.make_model(reference, problem)
        inputs = setup.make_inputs(reference, problem)
    full = [name for name, _ in (*model.named_parameters(), *model.named_buffers())]
    tails = [name.rpartition(".")[2] for name in full]  # the last part does where one parameter alone has it
    state = [tail if tails.count(tail) == 1 else name.replace(".", "_") for name, tail in zip(full, tails, strict=True)]
    return f"kernel_function({', '.join([*input_names(model, len(inputs)), *state])})", model, inputs, reference


def _bound(problem: Problem) -> str:
    """Bind the seed kernel's arguments."""
    from kopt.device.reference.contract import bind_arguments, load_candidate
    from kopt.device.reference.rejection import Rejected

    given, model, inputs, reference = _call(problem)
    try:
        bind_arguments(load_candidate(problem.seed, Path.cwd()), inputs, model, reference)
    except Rejected as error:
        raise ProblemError(f"kernel.py: {error.reason}") from error
    return f"kernel.py can be called: {given}; whether it is right, `kopt evaluate` finds out"


def _fixed(problem: Problem) -> list[Line]:
    """Name the values for which alone a kernel is verified."""
    from kopt.device.reference.fixed import fixed_values

    values = fixed_values(problem)
    if not values:
        return []
    listed = ", ".join(values[:MOST_FIXED]) + (f" and {len(values) - MOST_FIXED} more" if values[MOST_FIXED:] else "")
    text = f"a kernel is verified for these values alone, and may hold them as constants: {listed}"
    return [Line(name="fixed", state="note", text=text)]


def _sizes(problem: Problem) -> list[Line]:
    """Say for which sizes an exported kernel will run."""
    from kopt.device.facts.arguments import given_in
    from kopt.winner.size_rules import size_rules

    every = (given_in(problem, workload) for workload in (*problem.main, *problem.hidden, *problem.small))
    text, free = size_rules(problem, [one for one in every if one is not None])
    return [Line(name="sizes", state="ok" if free else "note", text=text)] if text else []


def _cost(problem: Problem, device: Device, lines: list[Line]) -> str:
    """Describe bytes, operations and times at full size; a line more where the memory of the GPU may not do."""
    from kopt.device.facts.facts import problem_facts

    facts = problem_facts(problem)
    held = SETS * max(workload.input_bytes + workload.output_bytes for workload in facts.workloads)
    if held > device.memory_bytes:
        needed = f"about {held / 1e9:.0f} GB, {device.name} has {device.memory_bytes / 1e9:.0f}"
        lines.append(Line(name="memory", state="note", text=f"full size may not fit on the GPU: {needed}"))
    if unknown := next((workload.unknown for workload in facts.workloads if workload.unknown), ""):
        return f"unknown, since the reference cannot be traced at full size: {unknown}"
    *others, last = (_cost_of(workload, facts, device) for workload in facts.workloads)
    lines += [Line(name="cost", state="ok", text=text) for text in others]
    if warning := estimate_warning(device.name):
        lines.append(Line(name="device", state="note", text=warning))
    return last


def _cost_of(workload: WorkloadFacts, facts: ProblemFacts, device: Device) -> str:
    eager = estimate_eager(facts, device)
    times = {estimate.workload: estimate.ms for estimate in eager.workloads} if eager else {}
    flops = f", {workload.matmul_flops / 1e9:.3g} GFLOP of products" if workload.matmul_flops else ""
    said = (
        f"{workload.workload} moves at least {_bytes(workload.bytes)}{flops}, "
        f"{floor_ms(workload, device, facts.dtype):.3g} ms on {device.name} (estimated, bound by "
        f"{floor_bound(workload, device, facts.dtype)})"
    )
    return f"{said}, eager PyTorch about {times[workload.workload]:.3g} ms" if workload.workload in times else said


def _bytes(count: int) -> str:
    return f"{count / 1e9:.3g} GB" if count >= 1e9 else f"{count / 1e6:.3g} MB"


def _verdict_time(problem: Problem, calibration_s: float) -> Line:
    """Estimate the time of one kernel without a GPU: the judge makes about as many draws as the calibration."""
    from kopt.device.draws.distributions import plan
    from kopt.device.draws.forms import further_edges
    from kopt.device.reference.trial import try_sizes

    draws = plan(problem.small, 0, further=further_edges(problem))
    elements = sum(try_sizes(problem, draw.workload.constants).largest for draw in draws)
    seconds = START_S + calibration_s + elements / ELEMENTS_S
    text = (
        f"to judge one kernel without a GPU takes about {seconds:.0f} s on an idle machine, {START_S:.0f} s of it to "
        "start processes"
    )
    return Line(name="time", state="note", text=text)


def failed_to_load(error: KoptError) -> Report:
    """Return the report on a problem that cannot be read."""
    return Report(lines=(Line(name="files", state="fails", text=str(error)),))


def with_files(report: Report, files: Sequence[Path]) -> Report:
    """Return a report that begins with the files of the problem."""
    line = Line(name="files", state="ok", text=", ".join(file.name for file in files))
    return Report(lines=(line, *report.lines))
