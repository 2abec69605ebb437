"""See which inputs and parameters of a reference have gradients, by one backward pass on meta tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal  # inputs are of whatever type a problem chooses

import torch
from torch.func import functional_call

from kopt.device.reference import setup
from kopt.device.reference.elsewhere.anywhere import anywhere
from kopt.device.reference.forward import reason
from kopt.device.reference.given import input_names
from kopt.device.reference.tree import taken_apart
from kopt.errors import ProblemError
from kopt.model.problem import Problem

Form = Literal["several", "named", "single"]
"""How `get_inputs` or `get_init_inputs` gives values: in a list, by name, or one alone."""


@dataclass(frozen=True)
class Gradients:
    """The gradients that one backward pass gives."""

    names: tuple[str, ...]
    """Names of the inputs, in order."""
    inputs: tuple[str, ...]
    """Names of those inputs that have a gradient."""
    parameters: tuple[str, ...]
    """Names of the parameters that have a gradient."""
    outputs: tuple[str, ...]
    """Outputs with a gradient, as expressions of the result: `{result}`, `{result}[0]`."""
    results: tuple[str, ...]
    """All outputs, as such expressions."""
    kept: tuple[str, ...]
    """Those of them that autograd keeps between the two passes."""
    without: tuple[str, ...]
    """Floating-point inputs and parameters without a gradient, since no output depends on them."""
    inputs_form: Form
    init_form: Form
    training: tuple[str, ...] | None = ()
    """Names of the modules in training mode, `""` for the model itself; None where all modules are in it."""


def gradients_of(problem: Problem, result: str) -> Gradients:
    """Differentiate the reference once with the sizes of the first main workload.

    Args:
        problem: the problem of the forward pass.
        result: name of the result in the expressions of the outputs.

    Raises:
        ProblemError: the reference cannot be differentiated; one line.
    """
    with torch.device("meta"):
        reference = setup.load_reference(problem, problem.main[0])
        model = setup.make_model(reference, problem)
        forms = _form(reference.get_inputs), _form(reference.get_init_inputs)
        inputs = setup.make_inputs(reference, problem)
    modes = {name: module.training for name, module in model.named_modules()}  # before forward sets another
    names = input_names(model, len(inputs))
    leaves = {name: _leaf(value) for name, value in zip(names, inputs, strict=True) if _is_floating(value)}
    state = {name: _leaf(value) for name, value in model.named_parameters() if _is_floating(value)}
    arguments = tuple(leaves.get(name, value) for name, value in zip(names, inputs, strict=True))
    try:
        kept: list[torch.Tensor] = []
        hooks = torch.autograd.graph.saved_tensors_hooks(lambda tensor: _noted(tensor, kept), lambda tensor: tensor)
        with anywhere(torch.device("meta")), torch.enable_grad(), hooks:
            made = taken_apart(functional_call(model, state, arguments), result).tensors
            outputs = {name: tensor for name, tensor in made.items() if tensor.requires_grad}
            if not outputs:
                raise ProblemError(
                    f"{problem.name}: the reference has no gradient: no floating-point output depends on a floating-"
                    "point input or parameter, or it computes under torch.no_grad()"
                )
            wanted = [*leaves.values(), *state.values()]
            ones = [torch.ones_like(tensor) for tensor in outputs.values()]
            found = torch.autograd.grad(list(outputs.values()), wanted, ones, allow_unused=True)
    except ProblemError:
        raise
    except Exception as error:
        raise ProblemError(f"{problem.name}: the reference cannot be differentiated: {reason(error)}") from error
    training = tuple(name for name, mode in modes.items() if mode)
    there = dict(zip([*leaves, *state], found, strict=True))
    return Gradients(
        names=tuple(names), inputs=tuple(name for name in leaves if there[name] is not None),
        parameters=tuple(name for name in state if there[name] is not None), outputs=tuple(outputs),
        results=tuple(made),
        kept=tuple(name for name, tensor in made.items() if any(_is_same(tensor, own) for own in kept)),
        without=tuple(name for name, gradient in there.items() if gradient is None),
        inputs_form=forms[0], init_form=forms[1], training=None if all(modes.values()) else training,
    )  # fmt: skip


def _noted(tensor: torch.Tensor, kept: list[torch.Tensor]) -> torch.Tensor:
    kept.append(tensor)
    return tensor


def _is_same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Return whether two tensors are one: autograd keeps an alias of an output."""
    return one.shape == other.shape and one.untyped_storage()._cdata == other.untyped_storage()._cdata


def _leaf(value: torch.Tensor) -> torch.Tensor:
    return value.detach().requires_grad_()


def _is_floating(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point() and value.element_size() > 1


def _form(function: Any) -> Form:
    with anywhere(torch.device("meta")):
        value = function()
    if isinstance(value, Mapping):
        return "named"
    return "several" if isinstance(value, list | tuple) or value is None else "single"
