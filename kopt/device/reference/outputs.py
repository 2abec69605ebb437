"""Describe an output, and define the contract that it must keep: type, shape, dtype and device.

Works on whatever device the tensors are on, so that the judge without a GPU and the referee on one share it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from kopt.device.reference.distributions import Case
from kopt.device.reference.facts import dtype_name
from kopt.device.reference.forward import call
from kopt.errors import ProblemError


@dataclass(frozen=True)
class Described:
    """An output without its values."""

    kind: str
    """Name of its exact type; `Tensor` means `torch.Tensor` itself, no subclass."""
    shape: tuple[int, ...] = ()
    dtype: str = ""
    """E.g. `bfloat16`."""
    device: str = ""
    """E.g. `cpu`."""


@dataclass(frozen=True)
class Contract:
    """Exact shape, dtype and device that an output must have."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: str

    def violation(self, output: Described) -> str:
        """Describe what is wrong with an output's type, shape, dtype or device; empty when nothing is wrong."""
        if output.kind != "Tensor":
            return f"the output must be one torch.Tensor, got {output.kind} (no tuple, None or subclass is taken)"
        required = (self.shape, dtype_name(self.dtype), self.device)
        actual = (output.shape, output.dtype, output.device)
        for name, wanted, got in zip(("shape", "dtype", "device"), required, actual, strict=True):
            if wanted != got:
                return f"the output's {name} must be {wanted}, got {got}"
        return ""


def described(output: object) -> Described:
    """Describe an output; a type other than `torch.Tensor` is named with its module."""
    if type(output) is not torch.Tensor:
        return Described(f"{type(output).__module__}.{type(output).__qualname__}")
    return Described("Tensor", tuple(output.shape), dtype_name(output.dtype), output.device.type)


def output_contract(case: Case) -> Contract:
    """Return shape, dtype and device of the eager model's output.

    Raises:
        ProblemError: the reference does not return one tensor.
    """
    return contract_of(run_model(case.model, case.inputs))


def eager_output(case: Case) -> torch.Tensor:
    """Return the eager model's output in the problem's own dtype.

    Raises:
        ProblemError: the reference does not return one tensor.
    """
    return run_model(case.model, case.inputs)


def contract_of(eager: torch.Tensor) -> Contract:
    """Return the contract that the eager model's output sets."""
    return Contract(tuple(eager.shape), eager.dtype, eager.device.type)


def run_model(model: torch.nn.Module, inputs: tuple[object, ...]) -> torch.Tensor:
    """Return the model's output on copies of the inputs, which the model may write to."""
    copies = tuple(value.clone() if isinstance(value, torch.Tensor) else value for value in inputs)
    output = call(model, copies)
    if not isinstance(output, torch.Tensor):
        raise ProblemError(f"the reference returns {type(output).__name__}, not one tensor")
    return output
