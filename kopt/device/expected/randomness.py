"""Find out references that no judge can compare with: random ones, and ones that keep state between calls."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map

from kopt.device.draws.distributions import Case
from kopt.device.reference.forward import call
from kopt.errors import ProblemError
from kopt.model.problem import Problem

NOISE = 0.01
"""Share of an output's largest magnitude by which two calls on a GPU may differ: atomic sums end in any order."""


def refuse_random(problem: Problem, case: Case) -> None:
    """Refuse a reference whose output changes with torch's seed, or from its first call to its second.

    Raises:
        ProblemError: one line that says which, and what to do.
    """
    model = copy.deepcopy(case.model)
    first, second = (_output(model, case, seed=1) for _ in range(2))
    if _differ(first, _output(copy.deepcopy(case.model), case, seed=2)):
        raise ProblemError(
            f"{problem.name}: the reference gives another output at every call with equal inputs (dropout in training "
            "mode, or random numbers drawn in forward?), which cannot be judged: pass the random numbers as an input, "
            "or draw them from a fixed seed"
        )
    if _differ(first, second):
        raise ProblemError(
            f"{problem.name}: the reference gives another output at its second call with equal inputs: forward changes "
            "the model (a buffer, an attribute), which cannot be judged; pass the state as an input"
        )


def _output(model: torch.nn.Module, case: Case, seed: int) -> Any:
    torch.manual_seed(seed)
    return call(model, tree_map(lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf, case.inputs))


def _differ(first: Any, second: Any) -> bool:
    return any(_tensors_differ(a, b) for a, b in zip(tree_leaves(first), tree_leaves(second), strict=False))


def _tensors_differ(first: Any, second: Any) -> bool:
    if not (isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor)):
        return False
    if first.shape != second.shape:
        return True
    if first.device.type == "cpu" or not first.is_floating_point():
        return not bool(((first == second) | ((first != first) & (second != second))).all())
    scale = float(first.nan_to_num(0, 0, 0).abs().max()) if first.numel() else 0.0
    return bool(((first - second).abs() > NOISE * scale).any())
