"""Find out references that no judge can compare with: random ones, and ones that keep state between calls."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from kopt.device.draws.distributions import Case
from kopt.device.reference.forward import call
from kopt.device.reference.layout import computable, copied_inputs, same_values
from kopt.device.reference.seeding import seed_random
from kopt.errors import ProblemError
from kopt.model.problem import Problem

NOISE = 0.01
"""Share of an output's largest magnitude by which two calls on a GPU may differ: atomic sums end in any order."""


def refuse_random(problem: Problem, case: Case) -> None:
    """Refuse a reference whose output changes with torch's seed, or from call to call though no argument changes.

    A model that changes its buffers, as a norm in training mode does, may return them: what a call makes of given
    buffers is compared.

    Raises:
        ProblemError: one line that says which, and what to do.
    """
    model = copy.deepcopy(case.model)
    first = _output(model, case, seed=1)
    if _differ(first, _output(copy.deepcopy(case.model), case, seed=2)):
        raise ProblemError(
            f"{problem.name}: the reference gives another output at every call with equal inputs (dropout in training "
            "mode, random numbers drawn in forward, or a variable outside the model?), which cannot be judged: pass "
            "the random numbers as an input, or draw them from a fixed seed"
        )
    if not _differ(_state(model), _state(case.model)) and _differ(first, _output(model, case, seed=1)):
        raise ProblemError(
            f"{problem.name}: the reference gives another output at its second call with equal inputs: forward changes "
            "an attribute of the model, which cannot be judged; pass the state as an input, or register it as a buffer"
        )


def _output(model: torch.nn.Module, case: Case, seed: int) -> Any:
    seed_random(seed)
    return call(model, copied_inputs(case.inputs))


def _state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _differ(first: Any, second: Any) -> bool:
    return any(_tensors_differ(a, b) for a, b in zip(tree_leaves(first), tree_leaves(second), strict=False))


def _tensors_differ(first: Any, second: Any) -> bool:
    if not (isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor)):
        return False
    if first.shape != second.shape:
        return True
    if first.device.type == "cpu" or not first.is_floating_point():
        return not bool(same_values(first, second).all())
    first, second = computable(first), computable(second)
    scale = float(first.nan_to_num(0, 0, 0).abs().max()) if first.numel() else 0.0
    return bool(((first - second).abs() > NOISE * scale).any())
