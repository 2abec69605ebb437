"""Find out how large the tensors of a problem's result typically are: on its normal inputs.

A draw whose outputs are nearly all zero says nothing about the accuracy that is wanted: 1 - x of an x near 1 has the
rounding error of 1.  But where the reference scales with its inputs, so that f(c x) = c^k f(x), as a product of
matrices does, so do the rounding errors of every right kernel, and its results on small inputs are typically small.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import torch

from kopt.device.draws.distributions import TIMED, Case, Draw, make_case
from kopt.device.draws.domain import inputs_key
from kopt.device.draws.seeds import derive_seed
from kopt.device.expected.outputs import run_reference
from kopt.device.expected.runs import in_dtype
from kopt.device.expected.tolerance import root_mean_square
from kopt.device.reference.tree import tensors_of
from kopt.errors import ProblemError
from kopt.model.problem import Problem

DRAWS = 3
"""Draws whose outputs are looked at."""

SCALE = 2.0**-10
"""Factor of the inputs by which it is tried whether the reference scales with them."""

SMALL = 1 / 16
"""Size of the largest input, over its normal size, below which inputs count as small."""

DEGREES = 4
"""Largest k of c^k that is tried."""

SAME = 1e-9
"""Difference of two float64 results, over their root mean square, that counts as none."""

NARROW = (torch.float16, torch.float8_e4m3fn, torch.float8_e5m2)
"""Types in which a right kernel may hold numbers in between that become zero where inputs are small."""


class Typical(NamedTuple):
    """Sizes on the normal inputs of a problem."""

    results: Mapping[str, float]
    """Root mean square of each tensor of floating-point numbers of the result, by name."""
    inputs: Sequence[float]
    """Largest number of each tensor among the inputs."""


_SIZES: dict[tuple[object, ...], Typical] = {}


def typical_sizes(
    problem: Problem, case: Case, exact: Mapping[str, torch.Tensor], changed: Collection[str] = ()
) -> dict[str, float]:
    """Return the typical root mean square of each tensor of floating-point numbers of a case's result, by name.

    Args:
        problem: the problem.
        case: model and inputs.
        exact: the tensors of the result in float64, by name.
        changed: names of the arguments that count as changed.
    """
    normal = _on_normal_inputs(problem, case)
    scale = _scale(case, normal)
    if scale >= SMALL:
        return dict(normal.results)
    scaled = in_dtype(case, torch.float64, _scaled, changed)
    degrees = {name: _degree(one, small) for (name, one), small in zip(exact.items(), scaled, strict=True)}
    return {name: size * scale ** degrees.get(name, 0) for name, size in normal.results.items()}


def usual_sizes(problem: Problem, case: Case) -> Mapping[str, float]:
    """Return what `typical_sizes` returns where the inputs are not small, without the result; else nothing."""
    normal = _on_normal_inputs(problem, case)
    return normal.results if _scale(case, normal) >= SMALL else {}


def _scale(case: Case, normal: Typical) -> float:
    """Return how large the inputs are, over what they normally are; at least `SMALL` where their type is narrow."""
    scale = max((size for size in _scales(case, normal) if size is not None), default=1.0)
    return max(scale, SMALL) if any(tensor.dtype in NARROW for tensor in tensors_of(list(case.inputs))) else scale


def _scales(case: Case, normal: Typical) -> list[float | None]:
    """Return how large each input of floating-point numbers is, over what it normally is; None for other inputs."""
    tensors = tensors_of(list(case.inputs))
    return [
        _largest(tensor) / size if tensor.is_floating_point() and size else None
        for tensor, size in zip(tensors, normal.inputs, strict=False)
    ]


def _degree(exact: torch.Tensor, scaled: torch.Tensor) -> int:
    """Return the k by which a result scales with the inputs; 0 where there is none."""
    finite = exact.isfinite() & scaled.isfinite()
    size = root_mean_square(exact.double(), finite)
    for degree in range(1, DEGREES + 1):
        difference = (scaled[finite].double() / SCALE**degree - exact[finite].double()).abs()
        if size and float(difference.max()) <= SAME * size:
            return degree
    return 0


def _scaled(value: object) -> object:
    """Make each number of a tensor of floating-point numbers smaller."""
    is_scaled = isinstance(value, torch.Tensor) and value.is_floating_point()
    return value.double() * SCALE if isinstance(value, torch.Tensor) and is_scaled else value


def _largest(tensor: torch.Tensor) -> float:
    numbers = tensor.detach().double().abs()
    return float(torch.where(numbers.isfinite(), numbers, 0.0).max()) if numbers.numel() else 0.0


def _on_normal_inputs(problem: Problem, case: Case) -> Typical:
    """Look at normal inputs, once in a process and device, on the last small workload.

    Nothing is known where the reference fails there.
    """
    tensors = tensors_of(list(case.inputs))
    device = tensors[0].device if tensors else torch.get_default_device()
    workload = problem.small[-1]
    key = inputs_key(problem, [workload], device)
    if key not in _SIZES:
        squares: dict[str, list[float]] = {}
        largest: list[float] = []
        with torch.device(device):
            for turn in range(DRAWS):
                normal = make_case(problem, Draw(workload, TIMED, derive_seed("typical", turn)))
                try:
                    result = run_reference(problem, normal)
                except ProblemError:
                    continue
                largest = [_largest(tensor) for tensor in tensors_of(list(normal.inputs))]
                for name, tensor in (*result.outputs.items(), *result.arguments.items()):
                    values = tensor.double()
                    values = values[values.isfinite()]
                    if tensor.is_floating_point() and values.numel():
                        squares.setdefault(name, []).append(float(values.square().mean()))
        sizes = {name: (sum(values) / len(values)) ** 0.5 for name, values in squares.items()}
        _SIZES[key] = Typical(sizes, largest)
    return _SIZES[key]
