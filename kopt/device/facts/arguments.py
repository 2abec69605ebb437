"""List the arguments with which a workload calls the reference, on meta tensors: shapes, strides, dtypes, values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any  # inputs are of whatever type a problem chooses

import torch

from kopt.device.reference import setup
from kopt.device.reference.given import input_names
from kopt.device.reference.layout import dtype_name
from kopt.errors import ProblemError
from kopt.model.problem import Argument, Given, Problem, Workload

PLAIN = (bool, int, float, str, type(None))
"""Types of inputs that are values."""


def given_in(problem: Problem, workload: Workload) -> Given | None:
    """Return the arguments of one workload; None where one is neither a tensor nor a value, or cannot be made."""
    try:
        with torch.device("meta"), torch.no_grad():
            reference = setup.load_reference(problem, workload)
            model = setup.make_model(reference, problem)
            inputs = setup.make_inputs(reference, problem)
    except ProblemError:
        return None
    if not all(isinstance(value, (torch.Tensor, *PLAIN)) for value in inputs):
        return None
    return Given(workload=workload.name, arguments=tuple(_arguments(model, inputs)))


def _arguments(model: torch.nn.Module, inputs: tuple[Any, ...]) -> Iterator[Argument]:
    for name, value in zip(input_names(model, len(inputs)), inputs, strict=True):
        if isinstance(value, torch.Tensor):
            yield _tensor(name, value, is_input=True)
        else:
            yield Argument(name=name, is_input=True, value=repr(value))
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        yield _tensor(name, tensor, is_input=False)


def _tensor(name: str, tensor: torch.Tensor, *, is_input: bool) -> Argument:
    return Argument(
        name=name, is_input=is_input, dtype=dtype_name(tensor.dtype), shape=tuple(tensor.shape),
        stride=tuple(tensor.stride()),
    )  # fmt: skip
