"""Draw inputs for verification from several distributions, with the shapes, dtypes and scale of the problem.

Integer tensors and inputs that are no tensors stay as `get_inputs` made them.  All draws follow from one seed; tensors
are made on torch's default device.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch

from kopt.device.reference import setup
from kopt.model.problem import Problem, Workload

SPAN = 6.0
"""Magnitudes of the `range` distribution reach from 2^-SPAN to 2^SPAN times the input's scale."""

HOT = 8.0
"""Magnitude of the one element per row in the `onehot` distribution, in units of the input's scale."""


@dataclass(frozen=True)
class Draw:
    """The workload, distribution and seed of one set of inputs."""

    workload: Workload
    distribution: str
    """Name in `DISTRIBUTIONS`."""
    seed: int


@dataclass(frozen=True)
class Case:
    """The inputs of a draw, with the reference that goes with them."""

    reference: ModuleType
    """Executed `problem.py` with the workload's constants."""
    model: torch.nn.Module
    """The reference's model, with drawn parameters."""
    inputs: tuple[Any, ...]
    """Values of `get_inputs` (`Any`: the problem may choose any type), with floating-point tensors drawn."""


def derive_seed(*parts: object) -> int:
    """Return a seed below 2^63 that follows from the parts, e.g. the run's seed, the kernel's digest and a position."""
    text = "\x00".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def plan(workloads: tuple[Workload, ...], *seed: object) -> tuple[Draw, ...]:
    """Plan the draws of one verdict: at least five, with `normal` and another distribution on every workload.

    At least three distributions are drawn from.

    Args:
        workloads: the workloads to draw for.
        seed: parts from which the draws' seeds follow.
    """
    count = max(5, 3 * len(workloads))
    names = tuple(DISTRIBUTIONS)
    draws = []
    for place in range(count):
        turn, index = divmod(place, len(workloads))
        distribution = names[(turn + 2 * index) % len(names)]
        draws.append(Draw(workloads[index], distribution, derive_seed(*seed, place)))
    return tuple(draws)


def make_case(problem: Problem, draw: Draw) -> Case:
    """Make the model and the inputs of a draw in the problem's dtype.

    Parameters that the model sets to a constant (weights of ones, biases of zeros) are drawn too, so that a kernel that
    leaves them out gives a wrong output.

    Raises:
        ProblemError: the reference cannot be set up.
    """
    reference = setup.load_reference(problem, draw.workload)
    model = setup.make_model(reference, problem, seed=draw.seed)
    _draw_parameters(model)
    original = setup.make_inputs(reference, problem, seed=derive_seed(draw.seed, "inputs"))
    fill = DISTRIBUTIONS[draw.distribution]
    floating = [index for index, value in enumerate(original) if _is_floating(value)]
    inputs = tuple(
        fill(value, index == min(floating)).to(value.dtype) if index in floating else value
        for index, value in enumerate(original)
    )
    return Case(reference, model, inputs)


def _is_floating(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _draw_parameters(model: torch.nn.Module) -> None:
    for parameter in model.parameters():
        if parameter.is_floating_point() and _is_constant(parameter):
            parameter.add_(torch.randn_like(parameter), alpha=0.5)
    for buffer in model.buffers():
        if buffer.is_floating_point() and _is_constant(buffer):
            buffer.add_(torch.rand_like(buffer), alpha=0.5)


def _is_constant(values: torch.Tensor) -> bool:
    return values.numel() > 0 and bool((values == values.flatten()[0]).all())


def _scale(original: torch.Tensor) -> float:
    """Return the root mean square of an input as `get_inputs` made it; 1 where that is zero or not finite."""
    scale = float(original.float().square().mean().sqrt()) if original.numel() else 0.0
    return scale if math.isfinite(scale) and scale > 0 else 1.0


def _normal(original: torch.Tensor, first: bool) -> torch.Tensor:
    return torch.randn(original.shape) * _scale(original)


def _integer(original: torch.Tensor, first: bool) -> torch.Tensor:
    """Draw -2 to 2 times a power of two: products and short sums are exact."""
    step = 2.0 ** round(math.log2(_scale(original) / math.sqrt(2.0)))
    return torch.randint(-2, 3, original.shape).float() * step


def _range(original: torch.Tensor, first: bool) -> torch.Tensor:
    """Draw signed magnitudes over many powers of two: one element may outweigh all others of a sum."""
    sign = torch.randint(0, 2, original.shape).float() * 2 - 1
    return sign * torch.exp2((torch.rand(original.shape) * 2 - 1) * SPAN) * _scale(original)


def _onehot(original: torch.Tensor, first: bool) -> torch.Tensor:
    """Draw one element per row of the first input, in the first row the very last; draw other inputs as normal."""
    if not first or original.dim() == 0:
        return _normal(original, first)
    longest = max(range(original.dim()), key=lambda dimension: original.shape[dimension])
    axis = original.dim() - 1 if original.shape[-1] > 1 else longest
    rows = torch.zeros(original.shape).movedim(axis, -1)
    size = rows.shape[-1]
    where = torch.randint(0, size, rows.shape[:-1])
    where.view(-1)[:1] = size - 1
    sign = torch.randint(0, 2, rows.shape[:-1]).float() * 2 - 1
    rows = rows.scatter(-1, where.unsqueeze(-1), sign.unsqueeze(-1) * HOT * _scale(original))
    return rows.movedim(-1, axis).contiguous()


DISTRIBUTIONS: dict[str, Callable[[torch.Tensor, bool], torch.Tensor]] = {
    "normal": _normal,
    "integer": _integer,
    "range": _range,
    "onehot": _onehot,
}
"""Generators by name; each gets an input of `get_inputs`, and whether that is the first floating-point input."""

TIMED = "normal"
"""Distribution of the inputs on which kernels are timed."""
