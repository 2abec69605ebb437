"""Check whether a problem can be judged, a line for each requirement, and estimate what judging costs.

The problem's code runs in the cage: `examined` is called there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any  # inputs are of whatever type a problem chooses

from kopt.errors import ProblemError
from kopt.estimate.eager import estimate_eager
from kopt.model.device import Device, estimate_warning
from kopt.model.problem import Given, Problem, ProblemFacts, TensorSpec, WorkloadFacts, workload_title
from kopt.preflight.check_lines import Lines, Report
from kopt.preflight.short_loops import short_loops
from kopt.roofline import floor_bound, floor_ms
from kopt.winner.size_rules import size_rules

if TYPE_CHECKING:
    import torch

CHECK_S = 600.0
"""Longest time of a check, s."""

PREPARED = (
    "torch", "sympy", "kopt.device.interpret.judge", "kopt.device.expected.calibration", "kopt.device.facts.facts",
)  # fmt: skip
"""Modules that a check needs, to be imported outside the cage, once for all of its calls; torch computes the sizes of
results with sympy."""

START_S = 8.0
"""Time of the processes that build and judge one kernel on an idle machine, beside the work of its draws, s."""

ELEMENTS_S = 1e6
"""Elements of the largest tensor that the interpreter handles in a second on one core, about."""

MOST_FIXED = 16
"""Most fixed values that are named."""

UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
"""Units of bytes."""

MOST_TENSORS = 4
"""Most tensors that are named with their bytes."""

SETS = 3
"""Sets of tensors that a judge on a GPU holds at full size, about: inputs, results, expected results."""


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
    lines = Lines(problem.name)
    runs = lines.holds("reference", lambda: _runs(problem))
    if runs and lines.holds("values", lambda: _runs_with_values(problem)):
        for text in _large(problem):
            lines.add("small", "note", text)
        tried = _without_large(problem)
        lines.holds("inputs", lambda: _draws(tried))
        start = time.monotonic()
        lines.holds("tolerance", lambda: _calibrated(tried))
        lines.add("time", "note", _verdict_time(problem, time.monotonic() - start))
    if runs:
        if problem.has_seed:
            lines.holds("kernel", lambda: _bound(problem))
        else:
            lines.add("kernel", "note", f"none; one of yours, kernel.py, would have {_call(problem)[0]}")
        if fixed := _fixed(problem):
            lines.add("fixed", "note", fixed)
        given = _given(problem)
        if not given:
            lines.add("export", "note", IN_LISTS)
        text, free = size_rules(problem, given, lambda sizes: _takes(problem, sizes))
        if text:
            lines.add("sizes", "ok" if free else "note", text)
        if short := short_loops(problem, given):
            lines.add("loops", "note", short)
        lines.holds("cost", lambda: _cost(problem, device, lines))  # a line for each timed workload
    return Report(lines=tuple(lines))


IN_LISTS = "an input is inside a list or dictionary: a kernel is exported as a script alone (--as script)"
"""Note on problems whose kernels no module, operator or solution can call."""


def _runs(problem: Problem) -> str:
    """Trace the reference at the sizes of every workload."""
    from kopt.device.reference.signature import signature_of

    for workload, kind in problem.workloads:
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
    return f"runs at the sizes of all {len(problem.workloads)} workloads; {gives}"


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


def _large(problem: Problem) -> list[str]:
    """Warn of small workloads that are not small."""
    from kopt.device.interpret.judge import check_size
    from kopt.device.reference.trial import slow_small

    warnings = [slow_small(problem)]
    try:
        check_size(problem)
    except ProblemError as error:
        warnings = [str(error)]
    return [text for text in warnings if text]


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
    from kopt.device.reference.given import input_names

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


def _fixed(problem: Problem) -> str:
    """Name the values for which alone a kernel is verified; empty where there are none."""
    from kopt.device.reference.fixed import fixed_values

    values = fixed_values(problem)
    if not values:
        return ""
    listed = ", ".join(values[:MOST_FIXED]) + (f" and {len(values) - MOST_FIXED} more" if values[MOST_FIXED:] else "")
    return f"a kernel is verified for these values alone, and may hold them as constants: {listed}"


def _given(problem: Problem) -> list[Given]:
    """Return the arguments in all workloads; those left out have inputs inside of lists."""
    from kopt.device.facts.arguments import given_in

    every = (given_in(problem, workload) for workload in (*problem.main, *problem.hidden, *problem.small))
    return [one for one in every if one is not None]


def _takes(problem: Problem, sizes: Mapping[str, int]) -> bool:
    """Return whether the reference runs on meta tensors with other sizes."""
    from kopt.device.reference.trial import try_sizes

    try:
        try_sizes(problem, sizes)
    except ProblemError:
        return False
    return True


def _cost(problem: Problem, device: Device, lines: Lines) -> str:
    """Describe bytes, operations and times at full size; a line more where the memory of the GPU may not do."""
    from kopt.device.facts.facts import problem_facts

    facts = problem_facts(problem)
    held = SETS * max(workload.input_bytes + workload.output_bytes for workload in facts.workloads)
    if held > device.memory_bytes:
        needed = f"about {held / 1e9:.0f} GB, {device.name} has {device.memory_bytes / 1e9:.0f}"
        lines.add("memory", "note", f"full size may not fit on the GPU: {needed}")
    if unknown := next((workload.unknown for workload in facts.workloads if workload.unknown), ""):
        return f"unknown, since the reference cannot be traced at full size: {unknown}"
    *others, last = (_cost_of(workload, facts, device) for workload in facts.workloads)
    for text in others:
        lines.add("cost", "ok", text)
    if warning := estimate_warning(device.name):
        lines.add("device", "note", warning)
    return last


def _cost_of(workload: WorkloadFacts, facts: ProblemFacts, device: Device) -> str:
    """Describe the floor of a timed workload: what of it is counted, and the time that follows."""
    eager = estimate_eager(facts, device)
    times = {estimate.workload: estimate.ms for estimate in eager.workloads} if eager else {}
    said = (
        f"timed workload {workload.workload}: a right kernel moves at least {_bytes(workload.bytes)} "
        f"({_counted(workload)}){_products(workload)}, so {floor_ms(workload, device, facts.dtype):.3g} ms on "
        f"{device.name} (estimated, bound by {floor_bound(workload, device, facts.dtype)})"
    )
    return f"{said}, eager PyTorch about {times[workload.workload]:.3g} ms" if workload.workload in times else said


def _counted(workload: WorkloadFacts) -> str:
    """Say which bytes of which tensors the floor of a workload counts."""
    if workload.floor is not None:
        return "floor in problem.yaml says so"
    parts = {"reads": (*workload.inputs, *workload.parameters), "writes": workload.outputs}
    said = [f"{verb} {_moved(tensors)}" for verb, tensors in parts.items() if any(one.needed_bytes for one in tensors)]
    return ", and ".join([*said[:-1], f"{said[-1]}, each once"]) if said else "it need move nothing"


def _moved(tensors: Sequence[TensorSpec]) -> str:
    """List the largest tensors with the bytes of them that every right kernel moves."""
    moved = sorted((one for one in tensors if one.needed_bytes), key=lambda one: -one.needed_bytes)
    listed = [
        f"{one.name} {_bytes(one.needed_bytes)}{f' ({one.needed:.0%} of it)' if one.needed < 1 else ''}"
        for one in moved[:MOST_TENSORS]
    ]
    return ", ".join(listed) + (f" and {len(moved) - MOST_TENSORS} smaller" if moved[MOST_TENSORS:] else "")


def _products(workload: WorkloadFacts) -> str:
    """Say how many operations of matrix products the floor of a workload counts, beside those of the reference."""
    counted, whole = workload.floor_flops / 1e9, workload.matmul_flops / 1e9
    if not counted and not whole:
        return ""
    if counted == whole:
        return f" and computes {whole:.3g} GFLOP of products"
    known = f"{counted:.3g} of them are surely needed" if counted else "of which none is surely needed"
    return f" and computes products, {whole:.3g} GFLOP in the reference, {known}"


def _bytes(count: int) -> str:
    unit, name = next(((unit, name) for unit, name in UNITS if count >= unit), (1, "bytes"))
    return f"{count / unit:.3g} {name}"


def _verdict_time(problem: Problem, calibration_s: float) -> str:
    """Estimate the time of one kernel without a GPU: the judge makes about as many draws as the calibration."""
    from kopt.device.draws.distributions import plan
    from kopt.device.draws.forms import further_edges
    from kopt.device.reference.trial import try_sizes

    draws = plan(problem.small, 0, further=further_edges(problem))
    largest = {small.name: try_sizes(problem, small.constants).largest for small in problem.small}
    elements = sum(largest[draw.workload.name] for draw in draws)
    seconds = START_S + calibration_s + elements / ELEMENTS_S
    return (
        f"to judge one kernel without a GPU takes about {seconds:.0f} s on an idle machine, {START_S:.0f} s of it to "
        "start processes"
    )
