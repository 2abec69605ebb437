"""Calibrate the tolerance of an output.

The tolerance is calibrated, not guessed.  With e the error of the eager model in the problem's own dtype, u the unit
roundoff of the output's dtype and S the root mean square of the reference, an element may be off by

    absolute + relative * |reference|
    relative = 2 max(u, largest e / |reference| where |reference| >= S / 10), at most 16 u (or 1e-4, for wide types)
    absolute = 2 (largest e beyond that where |reference| < S / 10), at most 4 u S (or 1e-4 S),
               and at least 16 times the largest error of the same model in float32

so that another order of summation passes, and a computation in a lower precision does not
(`kopt.device.reference.calibration` proves it for each problem).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch

from kopt.device.reference.anywhere import computing_in
from kopt.device.reference.distributions import Case
from kopt.device.reference.outputs import run_model
from kopt.model.problem import Tolerance

FACTOR = 2.0
"""Largest error over the eager model's own error."""

FLOAT32_FACTOR = 16.0
"""Error over the float32 model's own error that is always allowed: room for another order of summation."""

SMALL = 0.1
"""Share of the root mean square below which the absolute part of the tolerance decides."""


def in_dtype(case: Case, dtype: torch.dtype, alter: Callable[[object], object] = lambda value: value) -> torch.Tensor:
    """Compute the model's output in `dtype`, and return it as float64; `alter` may change each input before."""
    model = copy.deepcopy(case.model).to(dtype)
    inputs = tuple(_widened(alter(value), dtype) for value in case.inputs)
    with computing_in(dtype):
        return run_model(model, inputs).double()


def calibrated(eager: torch.Tensor, float32: torch.Tensor, reference: torch.Tensor, finite: torch.Tensor) -> Tolerance:
    """Return the tolerance that the module's docstring defines."""
    unit = torch.finfo(eager.dtype).eps / 2 if eager.is_floating_point() else 0.0
    usable = finite & eager.isfinite()
    size, error = reference[usable].abs(), (eager.double() - reference)[usable].abs()
    scale = float(size.square().mean().sqrt()) if size.numel() else 0.0
    large = size >= SMALL * scale
    ratio = _largest(error[large] / size[large].clamp_min(torch.finfo(torch.float64).tiny))
    relative = min(FACTOR * max(unit, ratio), max(16 * unit, 1e-4))
    beyond = FACTOR * _largest((error - relative / FACTOR * size)[~large])
    always = FLOAT32_FACTOR * _largest((float32 - reference)[usable & float32.isfinite()].abs())
    return Tolerance(absolute=max(min(beyond, max(4 * unit, 1e-4) * scale), always), relative=relative)


def _largest(values: torch.Tensor) -> float:
    largest = float(values.max()) if values.numel() else 0.0
    return largest if math.isfinite(largest) and largest > 0 else 0.0


def _widened(value: object, dtype: torch.dtype) -> object:
    return value.to(dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value
