"""How inputs are drawn for verification: several distributions, each with the shapes, dtypes and scale of the problem.

Integer inputs and what is no tensor stay as `get_inputs` made them.  Everything follows from one seed, on whatever
device is torch's default.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from kopt.device.reference import contract
from kopt.model.problem import Problem, Workload

SPAN = 6.0
"""Magnitudes of the `range` distribution reach from 2^-SPAN to 2^SPAN times the input's own scale."""

HOT = 8.0
"""Size of the one element per row of the `onehot` distribution, in units of the input's own scale."""


@dataclass(frozen=True)
class Draw:
    """One set of inputs: which workload, how, and from which seed."""

    workload: Workload
    distribution: str
    seed: int


@dataclass(frozen=True)
class Case:
    """A draw made: the reference's module, its model with drawn parameters, and the inputs."""

    reference: Any
    model: torch.nn.Module
    inputs: tuple[Any, ...]


def derive_seed(*parts: object) -> int:
    """A seed below 2^63 that follows from the parts, e.g. the run's seed, the kernel's digest and a position."""
    text = "\x00".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def plan(workloads: tuple[Workload, ...], *seed: object) -> tuple[Draw, ...]:
    """The draws of one verdict: at least five, at least three distributions, `normal` and another on every workload."""
    count = max(5, 3 * len(workloads))
    names = tuple(DISTRIBUTIONS)
    draws = []
    for at in range(count):
        turn, which = divmod(at, len(workloads))
        distribution = names[(turn + 2 * which) % len(names)]
        draws.append(Draw(workloads[which], distribution, derive_seed(*seed, at)))
    return tuple(draws)


def make_case(problem: Problem, draw: Draw) -> Case:
    """Make the model and the inputs of a draw in the problem's dtype.

    Parameters that the model sets to a constant (weights of ones, biases of zeros) are drawn, so that a kernel that
    leaves them out is seen.

    Raises:
        ProblemError: the reference cannot be set up.
    """
    reference = contract.load_reference(problem, draw.workload)
    model = contract.make_model(reference, problem, seed=draw.seed)
    _draw_parameters(model)
    given = contract.make_inputs(reference, problem, seed=derive_seed(draw.seed, "inputs"))
    fill = DISTRIBUTIONS[draw.distribution]
    floating = [at for at, value in enumerate(given) if _is_floating(value)]
    inputs = tuple(
        fill(value, at == min(floating)).to(value.dtype) if at in floating else value for at, value in enumerate(given)
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


def _scale(given: torch.Tensor) -> float:
    """Root mean square of what `get_inputs` made, 1 where that is nothing."""
    scale = float(given.float().square().mean().sqrt()) if given.numel() else 0.0
    return scale if math.isfinite(scale) and scale > 0 else 1.0


def _normal(given: torch.Tensor, first: bool) -> torch.Tensor:
    return torch.randn(given.shape) * _scale(given)


def _integer(given: torch.Tensor, first: bool) -> torch.Tensor:
    """-2 to 2 times a power of two: products and short sums are exact."""
    step = 2.0 ** round(math.log2(_scale(given) / math.sqrt(2.0)))
    return torch.randint(-2, 3, given.shape).float() * step


def _range(given: torch.Tensor, first: bool) -> torch.Tensor:
    """Signed magnitudes over many powers of two: one element may outweigh all others of a sum."""
    sign = torch.randint(0, 2, given.shape).float() * 2 - 1
    return sign * torch.exp2((torch.rand(given.shape) * 2 - 1) * SPAN) * _scale(given)


def _onehot(given: torch.Tensor, first: bool) -> torch.Tensor:
    """The first input has one element per row, in the first row the very last; the others are normal."""
    if not first or given.dim() == 0:
        return _normal(given, first)
    axis = given.dim() - 1 if given.shape[-1] > 1 else max(range(given.dim()), key=lambda at: given.shape[at])
    rows = torch.zeros(given.shape).movedim(axis, -1)
    size = rows.shape[-1]
    where = torch.randint(0, size, rows.shape[:-1])
    where.view(-1)[:1] = size - 1
    sign = torch.randint(0, 2, rows.shape[:-1]).float() * 2 - 1
    rows = rows.scatter(-1, where.unsqueeze(-1), sign.unsqueeze(-1) * HOT * _scale(given))
    return rows.movedim(-1, axis).contiguous()


DISTRIBUTIONS: dict[str, Callable[[torch.Tensor, bool], torch.Tensor]] = {
    "normal": _normal,
    "integer": _integer,
    "range": _range,
    "onehot": _onehot,
}
"""Name to generator, which gets what `get_inputs` made and whether it is the first floating-point input."""

TIMED = "normal"
"""The distribution of the inputs that are timed on."""
