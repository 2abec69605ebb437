"""Check a kernel against its reference, and time both on this GPU; without one, in Triton's interpreter."""

import ast
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import torch

from kopt.device.reference.modes import made_in_evaluation_mode
from kopt.winner.embedded.arguments import further_arguments
from kopt.winner.embedded.interpreted import (
    MOST_S,
    OnCpu,
    TimeIsUp,
    complete_interpreter,
    is_interpreted,
    start_interpreted,
)
from kopt.winner.embedded.undecided import Right, numbers_of, size_of, tensors_of
from kopt.winner.embedded.widened import exact_result, result_of

BYTES_IN_FLOAT64 = 8 << 30
"""Largest inputs, in float64, for which the reference runs in float64 too, bytes."""

NAMED = {
    "bfloat16": torch.bfloat16, "float16": torch.float16, "half": torch.float16, "autocast": torch.float16,
}  # fmt: skip
"""Words of a reference that name a type of 16 bits."""

TF32_UNIT = 2.0**-10
"""Unit of roundoff of TF32."""

ROUNDED_SHARE = 0.01
"""Largest share of a result's whole numbers that may be off by one."""


def reference_of(source: str, constants: Mapping[str, int]) -> ModuleType:
    """Execute the reference with constants in place of its own."""
    tree, body = ast.parse(source), list[ast.stmt]()
    for statement in tree.body:
        body.append(statement)
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        targets = [statement.target] if isinstance(statement, ast.AnnAssign) and statement.value else targets
        named = [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
        for name in constants.keys() & named:
            body += ast.parse(f"{name} = {constants[name]!r}").body
    tree.body = body
    module = ModuleType("reference")
    sys.modules["reference"] = module
    exec(compile(tree, "reference.py", "exec"), vars(module))
    return module


def in_dtype(value: Any, dtype: torch.dtype | None, device: str) -> Any:
    """Move a value's tensors to a device, floating-point ones in a dtype where one is given; those of 8 bits stay."""
    if isinstance(value, torch.Tensor):
        wide = dtype is not None and value.is_floating_point() and value.element_size() > 1
        return value.to(device, dtype if wide else value.dtype)
    if isinstance(value, list | tuple):
        return type(value)(in_dtype(one, dtype, device) for one in value)
    if isinstance(value, dict):
        return {key: in_dtype(one, dtype, device) for key, one in value.items()}
    return value


def named_kinds(reference: str) -> set[torch.dtype]:
    """Return the types of 16 bits that a reference names."""
    tree = ast.walk(ast.parse(reference))
    return {NAMED[node.attr] for node in tree if isinstance(node, ast.Attribute) and node.attr in NAMED}


def unit_of(kinds: set[torch.dtype], reference: str) -> float:
    """Return the unit of roundoff of a result: TF32's where torch convolves float32 numbers in it."""
    unit = max((torch.finfo(kind).eps for kind in kinds), default=0.0)
    setting = getattr(torch.backends.cudnn, "conv", None)  # of torch before 2.9 there is the older one alone
    permitted = torch.backends.cudnn.allow_tf32 if setting is None else setting.fp32_precision == "tf32"
    convolves = "conv" in reference.lower() and permitted
    return max(unit, TF32_UNIT) if torch.float32 in kinds and convolves else unit


class Errors(NamedTuple):
    """How far a result is off."""

    numbers: float
    """Largest error of the floating-point numbers over the largest magnitude of the exact ones of the same tensor."""
    whole: float
    """The same of whole numbers and truth values."""
    wrong: float
    """Largest share of a tensor's whole numbers and truth values that are wrong."""

    def permitted(self, eager: "Errors", unit: float) -> bool:
        """Return whether they are no larger than twice those of PyTorch, or twice the unit of roundoff."""
        exact = self.whole <= 2 * eager.whole and self.wrong <= 2 * eager.wrong
        return exact and self.numbers <= 2 * max(eager.numbers, unit)


def errors_of(values: Any, right: Right) -> Errors:
    """Return the errors of a result; infinite ones for other shapes.

    A few whole numbers may be off by one, where rounding decides between two.
    """
    numbers = whole = wrong = 0.0
    for at, (one, exact) in enumerate(zip(numbers_of(values), right.exact, strict=True)):
        if one.shape != exact.shape:
            return Errors(float("inf"), float("inf"), 1.0)
        if not one.numel():
            continue
        gaps = right.gaps(at, one)
        if exact.is_floating_point():
            numbers = max(numbers, float(gaps.max()) / size_of(exact))
            continue
        rounded = exact.dtype is not torch.bool and right.sorts[at] is None
        if rounded and float((gaps == 1).double().mean()) <= ROUNDED_SHARE:
            gaps = gaps.where(gaps != 1, 0.0)
        whole = max(whole, float(gaps.max()) / size_of(exact))
        wrong = max(wrong, float((gaps > 0).double().mean()))
    return Errors(numbers, whole, wrong)


def remarks(error: Errors, own: Errors, unit: float, right: Right, inexact: str = "") -> str:
    """Say whether a kernel is wrong, how much of its result ties or rounding decide, and why float64 is not at hand."""
    shares = (right.share(whole=True), "decide", "whole"), (right.share(whole=False), "change", "other")
    parts = [f"{verb} {max(share, 1e-3):.1%} of the {kind} numbers" for share, verb, kind in shares if share]
    words = ["" if error.permitted(own, unit) else "WRONG"]
    if error.wrong > 2 * own.wrong:
        words[0] += f" in {max(error.wrong, 1e-3):.1%} of the whole numbers"
    words.append(f"ties or rounding {' and '.join(parts)}" if parts else "")
    words.append(f"what ties or rounding decide is unknown ({right.refused})" if right.refused else "")
    words.append(f"compared with PyTorch in its own types (float64: {inexact})" if inexact else "")
    return "".join(f"   {one}" for one in words if one)


def median_ms(call: Callable[[], Any], repeat: int = 50) -> float:
    """Return the median time of a call on the GPU, ms, with a cold cache."""
    flush = torch.empty(256 << 20, dtype=torch.uint8, device="cuda")
    times = []
    for _ in range(repeat):
        flush.zero_()
        before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        before.record()
        call()
        after.record()
        torch.cuda.synchronize()
        times.append(before.elapsed_time(after))
    return float(statistics.median(times[len(times) // 5 :]))


def wall_ms(call: Callable[[], Any], repeat: int = 50) -> float:
    """Return the median time from a call to its end on an idle GPU, ms: the host's work is part of it."""
    times = []
    for _ in range(repeat):
        torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - start))
    return float(statistics.median(times[len(times) // 5 :]))


class Compared(NamedTuple):
    """A kernel's result on one workload beside the reference's."""

    kernel: Callable[[], Any]
    model: Callable[[], Any]
    error: Errors
    own: Errors
    """Errors of the reference in its own dtype."""
    unit: float
    right: Right
    inexact: str
    """Why the reference does not run in float64, so that its own types are what is right; empty where it does."""

    @property
    def is_right(self) -> bool:
        """Return whether the kernel's errors are permitted."""
        return self.error.permitted(self.own, self.unit)

    @property
    def figures(self) -> list[str]:
        """The largest errors of kernel and reference, as columns."""
        return [f"{max(one.numbers, one.whole):9.2e}" for one in (self.error, self.own)]


def compared(
    entry: Callable[..., Any], reference: str, constants: Mapping[str, int], dtype: torch.dtype | None, device: str
) -> Compared:
    """Run a kernel and its reference on one workload, on a device, with the inputs that the reference makes."""
    with torch.no_grad(), torch.device(device), OnCpu() if device == "cpu" else nullcontext():
        torch.manual_seed(1)
        module = reference_of(reference, constants)
        initial = module.get_init_inputs()
        positional, named = ((), initial) if isinstance(initial, dict) else (initial, {})
        model = made_in_evaluation_mode(partial(module.Model, *positional, **named)).to(device)
        model = model if dtype is None else model.to(dtype)
        given = module.get_inputs()
        given = [given] if isinstance(given, torch.Tensor) else given
        inputs = in_dtype(list(given.values()) if isinstance(given, dict) else list(given), dtype, device)
        further = further_arguments(entry, inputs, model, vars(module))
        kernel = partial(entry, **further)
        eager = result_of(model, inputs)
        kinds = {one.dtype for one in tensors_of(eager) if one.is_floating_point()} if dtype is None else {dtype}
        exact, inexact = None, ""
        if 8 * sum(tensor.numel() for tensor in tensors_of(inputs)) <= BYTES_IN_FLOAT64:
            exact, inexact = exact_result(model, in_dtype(inputs, torch.float64, device), reference)
        rounds = bool(inexact) or "autocast" in reference
        unit = unit_of(kinds | named_kinds(reference) if rounds else kinds, reference)
        result, again = result_of(kernel, inputs), partial(result_of, model, inputs)
        whole = not all(one.is_floating_point() for one in tensors_of(eager[0]))
        for runs in (again,) if whole else (None, again):
            right = Right(eager if exact is None else exact, unit, runs)
            error, own = errors_of(result, right), errors_of(eager, right)
            if error.permitted(own, unit):
                break
    return Compared(partial(kernel, *inputs), partial(model, *inputs), error, own, unit, right, inexact)


def check(
    entry: Callable[..., Any], problem: str, reference: str, dtype: torch.dtype | None,
    workloads: Mapping[str, Mapping[str, int]], small: Mapping[str, Mapping[str, int]],
) -> int:  # fmt: skip
    """Print a line for each workload: the kernel's error beside eager's, and the times of both, on the GPU and in all.

    Without a GPU, or with TRITON_INTERPRET=1, the kernel runs in Triton's interpreter on small workloads, untimed.

    Returns:
        1 where the kernel is wrong, 2 where it cannot be run, else 0.
    """
    if is_interpreted():
        return check_interpreted(entry, problem, reference, dtype, small)
    if not torch.cuda.is_available():
        start_interpreted()
    wrong = 0
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    print(f"{'workload':24} {'error':>9} {'eager':>9} {'kernel ms':>10} {'eager ms':>9} {'wall ms':>9} {'of eager':>9}")
    for name, constants in workloads.items():
        with torch.no_grad(), torch.device("cuda"):
            one = compared(entry, reference, constants, dtype, "cuda")
            times = [median_ms(call) for call in one[:2]] + [wall_ms(call) for call in one[:2]]
        wrong += not one.is_right
        figures = [*one.figures, f"{times[0]:10.4f}", *(f"{each:9.4f}" for each in times[1:])]
        print(f"{name[:24]:24} {' '.join(figures)}{remarks(*one[2:])}")
    return 1 if wrong else 0


def advised(problem: str) -> str:
    """Return the command by which kopt judges the kernel of this file."""
    return f"kopt evaluate {shlex.quote(sys.argv[0])} --problem {shlex.quote(problem)}"


def check_interpreted(
    entry: Callable[..., Any], problem: str, reference: str, dtype: torch.dtype | None,
    small: Mapping[str, Mapping[str, int]],
) -> int:  # fmt: skip
    """Print a line for each small workload: the kernel's error in Triton's interpreter beside eager's on the CPU.

    Returns:
        1 where the kernel is wrong on one, 2 where it is not and cannot be run on one or on any in time, else 0.
    """
    complete_interpreter()
    wrong, done = list[str](), list[str]()
    print(f"Triton's interpreter on the CPU, torch {torch.__version__}: small sizes, nothing is timed")
    print(f"{'workload':24} {'error':>9} {'eager':>9}")
    for name, constants in small.items():
        try:
            one = compared(entry, reference, constants, dtype, "cpu")
        except TimeIsUp:
            print(f"{name[:24]:24} left out, and what follows: the check has taken {MOST_S} s of a processor")
            break
        except Exception as error:  # noqa: BLE001 - whatever a kernel needs that the interpreter lacks
            reason = str(error).partition("\n")[0]
            print(f"{name[:24]:24} cannot be run here: {type(error).__name__}: {reason}")
            done.clear()
            break
        (done if one.is_right else wrong).append(name)
        print(f"{name[:24]:24} {' '.join(one.figures)}{remarks(*one[2:])}")
    if wrong:
        print(f"the kernel is WRONG on {', '.join(wrong)}")
        return 1
    if not done:
        print(f"kopt's own interpreter judges the kernel: {advised(problem)}")
        return 2
    print(f"the kernel is right on {', '.join(done)}; on tensors of the CPU PyTorch runs")
    return 0
