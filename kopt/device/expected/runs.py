"""Run a reference in another type than its own, deciding as it decided before, inside contexts that change it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch
from torch.utils._pytree import tree_map

from kopt.device.draws.distributions import Case
from kopt.device.expected.decisions import Decisions, Watched
from kopt.device.expected.emulation import CARRIER, WIDE_CARRIER, NormsInWide
from kopt.device.expected.outputs import run_model
from kopt.device.expected.products.float32 import InFloat32, fused_apart
from kopt.device.expected.products.wide_convolutions import WideConvolutions
from kopt.device.reference.layout import copied_inputs
from kopt.device.reference.other_type import computing_in, copied_in
from kopt.device.reference.tree import tensors_of

REPEATED_ELEMENTS = 1 << 24
"""Largest inputs, elements, of runs that are made again and again."""


def in_dtype(
    case: Case,
    dtype: torch.dtype,
    alter: Callable[[object], object] = lambda value: value,
    changed: Collection[str] = (),
    within: AbstractContextManager[object] | None = None,
    *,
    rounds: bool = True,
    names: set[torch.dtype] | None = None,
) -> tuple[torch.Tensor, ...]:
    """Compute the model's result in `dtype`, and return its tensors as float64, integers and truth values as int64.

    Args:
        case: the model and its inputs.
        dtype: type of all floating-point inputs and parameters.
        alter: changes each input; it gets the input in its own type, and may return a wider one.
        changed: names of the arguments that count as changed; they follow the output's tensors.
        within: context in which the model runs.
        rounds: conversions to 16-bit types that the reference names round.
        names: gets these types, where they are narrower than `dtype`.
    """
    model = copy.deepcopy(case.model).to(dtype)
    inputs = tree_map(lambda value: copied_in(alter(value), dtype), case.inputs)
    with ExitStack() as stack:
        computed = stack.enter_context(computing_in(dtype, case.inputs, rounds=rounds))
        if dtype == torch.float32:
            stack.enter_context(fused_apart())
            stack.enter_context(InFloat32())
        if dtype == torch.float64 and any(tensor.is_cuda for tensor in tensors_of(list(case.inputs))):
            stack.enter_context(WideConvolutions())
        if within is not None:
            stack.enter_context(within)
        tensors = run_model(model, inputs, changed).tensors
    if names is not None:
        names |= computed.named
    return _widened(tensors)


def in_own_dtypes(
    case: Case, changed: Collection[str], within: AbstractContextManager[object]
) -> tuple[torch.Tensor, ...]:
    """Compute the model's result as the eager model does, and return its tensors as `in_dtype` does.

    Args:
        case: the model and its inputs.
        changed: names of the arguments that count as changed; they follow the output's tensors.
        within: context in which the model runs.
    """
    model, inputs = copy.deepcopy(case.model), copied_inputs(case.inputs)
    with within:
        tensors = run_model(model, inputs, changed).tensors
    return _widened(tensors)


def in_wider(
    case: Case, changed: Collection[str], half: torch.dtype, within: AbstractContextManager[object]
) -> tuple[torch.Tensor, ...]:
    """Compute the model's result with all numbers one type wider than its own, and return its tensors as `in_dtype`."""

    def wider(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(WIDE_CARRIER if tensor.dtype == torch.float32 else CARRIER)

    model = copy.deepcopy(case.model)
    model = model._apply(lambda tensor: wider(tensor) if tensor.is_floating_point() else tensor)
    inputs = tree_map(
        lambda value: copied_in(value, wider(value).dtype) if isinstance(value, torch.Tensor) else value, case.inputs
    )
    with ExitStack() as stack:
        stack.enter_context(computing_in(WIDE_CARRIER, case.inputs, CARRIER, half))
        stack.enter_context(fused_apart())
        stack.enter_context(NormsInWide())
        stack.enter_context(within)
        stack.enter_context(InFloat32())
        tensors = run_model(model, inputs, changed).tensors
    return _widened(tensors)


@contextmanager
def deciding_alike(
    decisions: Decisions | None,
    arithmetic: AbstractContextManager[object] | None = None,
    *,
    rough: bool = False,
    noted: bool = True,
) -> Iterator[None]:
    """Have a reference decide as in its first run inside the block.

    Args:
        decisions: those of the first run; None where there are none.
        arithmetic: another context for the block.
        rough: the reference computes in another type or arithmetic than in the first run.
        noted: the run shows how the numbers change on which the reference decides.
    """
    with ExitStack() as stack:
        if arithmetic is not None:
            stack.enter_context(arithmetic)
        if decisions is not None:
            stack.enter_context(Watched(decisions.begin(rough=rough, noted=noted)))
        yield


def _widened(tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    return tuple(tensor.to(torch.float64 if tensor.is_floating_point() else torch.int64) for tensor in tensors)
