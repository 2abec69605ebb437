"""Check a kernel against its reference on this GPU, and time both."""

import ast
import copy
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Any

import torch

from kopt.device.reference.modes import made_in_evaluation_mode
from kopt.winner.embedded.arguments import further_arguments

BYTES_IN_FLOAT64 = 8 << 30
"""Largest inputs, in float64, for which the reference runs in float64 too, bytes."""

TF32_UNIT = 2.0**-10
"""Unit of roundoff of TF32."""

ROUNDED_SHARE = 0.01
"""Largest share of a result's whole numbers that may be off by one."""


def reference_of(source: str, constants: Mapping[str, int]) -> ModuleType:
    """Execute the reference with constants in place of its own."""
    tree = ast.parse(source)
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name = statement.targets[0].id
            if name in constants:
                statement.value = ast.copy_location(ast.Constant(constants[name]), statement.value)
    module = ModuleType("reference")
    sys.modules["reference"] = module
    exec(compile(tree, "reference.py", "exec"), vars(module))
    return module


def in_dtype(value: Any, dtype: torch.dtype | None) -> Any:
    """Move a value's tensors to the GPU, floating-point ones in a dtype where one is given; those of 8 bits stay."""
    if isinstance(value, torch.Tensor):
        wide = dtype is not None and value.is_floating_point() and value.element_size() > 1
        return value.to("cuda", dtype if wide else value.dtype)
    if isinstance(value, list | tuple):
        return type(value)(in_dtype(one, dtype) for one in value)
    if isinstance(value, dict):
        return {key: in_dtype(one, dtype) for key, one in value.items()}
    return value


def tensors_of(value: Any) -> list[torch.Tensor]:
    """List the tensors in a value."""
    if isinstance(value, torch.Tensor):
        return [value]
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for one in values for tensor in tensors_of(one)]


def result_of(function: Callable[..., Any], inputs: list[Any]) -> list[Any]:
    """Call a function on copies of the inputs; return its result and the copies, which it may have changed."""
    copies = copy.deepcopy(inputs)
    return [function(*copies), copies]


def unit_of(kinds: set[torch.dtype], reference: str) -> float:
    """Return the unit of roundoff of a result: TF32's where torch convolves float32 numbers in it."""
    unit = max((torch.finfo(kind).eps for kind in kinds), default=0.0)
    setting = getattr(torch.backends.cudnn, "conv", None)  # of torch before 2.9 there is the older one alone
    permitted = torch.backends.cudnn.allow_tf32 if setting is None else setting.fp32_precision == "tf32"
    convolves = "conv" in reference.lower() and permitted
    return max(unit, TF32_UNIT) if torch.float32 in kinds and convolves else unit


def largest_error(values: Any, exact: Any) -> float:
    """Return the largest error of a result over the largest magnitude of the exact one; infinity for other shapes.

    A few whole numbers may be off by one, where rounding decides between two.
    """
    worst = 0.0
    for one, right in zip(tensors_of(values), tensors_of(exact), strict=True):
        if one.shape != right.shape:
            return float("inf")
        if one.numel():
            whole = not one.is_floating_point() and one.dtype is not torch.bool
            wide, right = one.double(), right.double()
            same = (wide == right) | (wide.isnan() & right.isnan())
            near = (wide - right).abs() == 1
            if whole and float(near.double().mean()) <= ROUNDED_SHARE:
                same |= near
            error = torch.where(same, 0.0, (wide - right).abs()).nan_to_num(float("inf"), float("inf")).max()
            worst = max(worst, float(error) / max(float(right.abs().nan_to_num(0, 0, 0).max()), 1e-30))
    return worst


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


def check(
    entry: Callable[..., Any], problem: str, reference: str, dtype: torch.dtype | None,
    workloads: Mapping[str, Mapping[str, int]],
) -> int:  # fmt: skip
    """Print a line for each workload: the kernel's error beside eager's, and the times of both, on the GPU and in all.

    Returns:
        1 where the kernel is wrong, 2 where there is no GPU, else 0.
    """
    if not torch.cuda.is_available():
        command = f"kopt evaluate {sys.argv[0]} --problem {problem}"
        print(f"this check needs a CUDA GPU; without one, kopt judges the kernel: {command}")
        return 2
    wrong = 0
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    print(f"{'workload':24} {'error':>9} {'eager':>9} {'kernel ms':>10} {'eager ms':>9} {'wall ms':>9} {'of eager':>9}")
    for name, constants in workloads.items():
        with torch.no_grad(), torch.device("cuda"):
            torch.manual_seed(1)
            module = reference_of(reference, constants)
            initial = module.get_init_inputs()
            positional, named = ((), initial) if isinstance(initial, dict) else (initial, {})
            model = made_in_evaluation_mode(partial(module.Model, *positional, **named)).to("cuda")
            model = model if dtype is None else model.to(dtype)
            given = module.get_inputs()
            given = [given] if isinstance(given, torch.Tensor) else given
            inputs = in_dtype(list(given.values()) if isinstance(given, dict) else list(given), dtype)
            further = further_arguments(entry, inputs, model, vars(module))
            kernel = partial(entry, **further)
            eager = result_of(model, inputs)
            kinds = {one.dtype for one in tensors_of(eager) if one.is_floating_point()} if dtype is None else {dtype}
            unit = unit_of(kinds, reference)
            exact = eager
            if 8 * sum(tensor.numel() for tensor in tensors_of(inputs)) <= BYTES_IN_FLOAT64:
                exact = result_of(copy.deepcopy(model).double(), in_dtype(inputs, torch.float64))
            error, own = largest_error(result_of(kernel, inputs), exact), largest_error(eager, exact)
            right = error <= 2 * max(own, unit)
            calls = partial(kernel, *inputs), partial(model, *inputs)
            times = [median_ms(call) for call in calls] + [wall_ms(call) for call in calls]
        wrong += not right
        figures = f"{error:9.2e} {own:9.2e} {times[0]:10.4f} {' '.join(f'{one:9.4f}' for one in times[1:])}"
        print(f"{name[:24]:24} {figures}{'' if right else '   WRONG'}")
    return 1 if wrong else 0
