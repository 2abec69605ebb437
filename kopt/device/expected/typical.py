"""Measure how large the tensors of a problem's result typically are: on its normal inputs.

A draw whose outputs are nearly all zero says nothing about the accuracy that is wanted.
"""

from __future__ import annotations

import torch

from kopt.device.draws.distributions import TIMED, Case, Draw, derive_seed, inputs_key, make_case
from kopt.device.expected.outputs import run_reference
from kopt.device.reference.tree import tensors_of
from kopt.errors import ProblemError
from kopt.model.problem import Problem

DRAWS = 3
"""Draws whose outputs are looked at."""

_SIZES: dict[tuple[object, ...], dict[str, float]] = {}


def typical_sizes(problem: Problem, case: Case) -> dict[str, float]:
    """Return the root mean square of each tensor of floating-point numbers of the result, by name.

    It is looked for once in a process and device, on the last small workload; none where the reference fails there.
    """
    tensors = tensors_of(list(case.inputs))
    device = tensors[0].device if tensors else torch.get_default_device()
    workload = problem.small[-1]
    key = inputs_key(problem, [workload], device)
    if key not in _SIZES:
        squares: dict[str, list[float]] = {}
        with torch.device(device):
            for turn in range(DRAWS):
                draw = Draw(workload, TIMED, derive_seed("typical", turn))
                try:
                    result = run_reference(problem, make_case(problem, draw))
                except ProblemError:
                    continue
                for name, tensor in (*result.outputs.items(), *result.arguments.items()):
                    values = tensor.double()
                    values = values[values.isfinite()]
                    if tensor.is_floating_point() and values.numel():
                        squares.setdefault(name, []).append(float(values.square().mean()))
        _SIZES[key] = {name: (sum(values) / len(values)) ** 0.5 for name, values in squares.items()}
    return _SIZES[key]
