"""Serve a custom operator in an exported file; the text of this module is written there."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch.utils._python_dispatch import _disable_current_modes

from kopt.device.reference.modes import made_in_evaluation_mode

_MADE = dict[tuple[int, ...], tuple[torch.nn.Module, Any]]()
"""Models, and what is known of them, by the sizes with which they are made."""


def without_weights(
    kind: type[torch.nn.Module], given: Any, sizes: Mapping[str, int], further: Callable[[torch.nn.Module], Any]
) -> tuple[torch.nn.Module, Any]:
    """Return a model, in its reference's mode, whose parameters have no values: they are arguments of the operator.

    It is made once for the same sizes.

    Args:
        kind: class of the model.
        given: what `get_init_inputs` returns.
        sizes: arguments of the model that are others than there, by name.
        further: what is to be known of the model, and returned beside it.
    """
    key = tuple(sizes.values())
    if key not in _MADE:
        signature = inspect.signature(kind.__init__)
        bound = signature.bind(None, **given) if isinstance(given, dict) else signature.bind(None, *given)
        bound.arguments.update(sizes)
        with _disable_current_modes(), torch.device("meta"):  # a tracer must not see how it is made
            model: torch.nn.Module = made_in_evaluation_mode(partial(kind, *bound.args[1:], **bound.kwargs))
        _MADE[key] = model, further(model)
    return _MADE[key]


def parted(values: Mapping[str, Any], model: torch.nn.Module) -> tuple[dict[str, str], dict[str, Any]]:
    """Part arguments into a model's weights, by their names in the model, and other values."""
    paths = {id(one): path for path, one in (*model.named_parameters(), *model.named_buffers())}
    weights = {name: paths[id(value)] for name, value in values.items() if id(value) in paths}
    return weights, {name: value for name, value in values.items() if name not in weights}


def needs_dispatcher(given: Sequence[torch.Tensor]) -> bool:
    """Return whether a call of an operator has to go through PyTorch's dispatcher, which takes longer than a kernel."""
    kinds = torch.Tensor, torch.nn.Parameter
    return (
        torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._are_functorch_transforms_active()
        or any(type(one) not in kinds for one in given)
    )


def unshared(results: Sequence[torch.Tensor], arguments: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Copy results that share memory with an argument or another result, which torch allows no operator."""
    taken, own = {one.untyped_storage().data_ptr() for one in arguments}, []
    for one in results:
        place = one.untyped_storage().data_ptr()
        own.append(one.clone() if place in taken else one)
        taken.add(place)
    return tuple(own)


def differentiated(
    run: Callable[..., Any], given: Sequence[torch.Tensor], needed: Sequence[bool], gradients: Sequence[Any]
) -> tuple[torch.Tensor | None, ...]:
    """Return the gradients of arguments, by running a function of them once more; None where none is needed.

    Args:
        run: what is differentiated; it returns a tensor or several.
        given: its arguments.
        needed: whether the gradient of an argument is needed.
        gradients: of its results.
    """
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        own = [
            one.view_as(one) if again else one.detach().requires_grad_(need)
            for one, need in zip(given, needed, strict=True)
        ]
        results = run(*own)
    results = results if isinstance(results, tuple | list) else [results]
    pairs = [(one, by) for one, by in zip(results, gradients, strict=True) if by is not None and one.requires_grad]
    wanted = [one for one, need in zip(own, needed, strict=True) if need]
    if not pairs:
        return (None,) * len(own)
    ends, by = ([pair[at] for pair in pairs] for at in (0, 1))
    found = iter(torch.autograd.grad(ends, wanted, by, create_graph=again, allow_unused=True))
    return tuple(next(found) if need else None for need in needed)
