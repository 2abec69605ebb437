"""Serve a custom operator in an exported file; the text of this module is written there."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch

from kopt.device.reference.modes import made_in_evaluation_mode


def without_weights(kind: type[torch.nn.Module], given: Any) -> torch.nn.Module:
    """Make a model, in the mode of its reference, whose parameters have no values: they are arguments of the operator.

    Args:
        kind: class of the model.
        given: what `get_init_inputs` returns.
    """
    with torch.device("meta"):
        make = partial(kind, **given) if isinstance(given, dict) else partial(kind, *given)
        model: torch.nn.Module = made_in_evaluation_mode(make)
    return model


def parted(values: Mapping[str, Any], model: torch.nn.Module) -> tuple[dict[str, str], dict[str, Any]]:
    """Part arguments into a model's weights, by their names in the model, and other values."""
    paths = {id(one): path for path, one in (*model.named_parameters(), *model.named_buffers())}
    weights = {name: paths[id(value)] for name, value in values.items() if id(value) in paths}
    return weights, {name: value for name, value in values.items() if name not in weights}


def needs_dispatcher(given: Sequence[torch.Tensor]) -> bool:
    """Return whether a call of an operator has to go through PyTorch's dispatcher, which takes longer than a kernel."""
    kinds, gradients = (torch.Tensor, torch.nn.Parameter), torch.is_grad_enabled()
    return (
        torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._are_functorch_transforms_active()
        or any(type(one) not in kinds or (gradients and one.requires_grad) for one in given)
    )


def unshared(results: Sequence[torch.Tensor], arguments: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Copy results that share memory with an argument or another result, which torch allows no operator."""
    taken, own = {one.untyped_storage().data_ptr() for one in arguments}, []
    for one in results:
        place = one.untyped_storage().data_ptr()
        own.append(one.clone() if place in taken else one)
        taken.add(place)
    return tuple(own)
