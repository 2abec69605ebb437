"""Copy and compare tensors with their layout: strides, expanded dimensions (stride 0) and the offset in their storage.

torch keeps a layout only where no two elements share memory and no gaps lie between them; a kernel sees the strides,
so an input must come to it as `get_inputs` made it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any  # inputs are of whatever type a problem chooses

import torch
from torch.utils._pytree import tree_map_only


def extent(shape: Sequence[int], stride: Sequence[int]) -> int:
    """Return the number of elements from a tensor's first to its last element in memory."""
    if 0 in shape:
        return 0
    return 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))


def empty_as(like: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Make a tensor of the same layout, in a storage of its own, perhaps of another dtype."""
    offset = int(like.storage_offset())
    base = torch.empty(offset + extent(like.shape, like.stride()), dtype=dtype or like.dtype, device=like.device)
    return base.as_strided(like.shape, like.stride(), offset)


def assign(target: torch.Tensor, source: torch.Tensor) -> None:
    """Copy values into a tensor of the same shape; an expanded dimension of the target is written once."""
    for dimension, (size, step) in enumerate(zip(target.shape, target.stride(), strict=True)):
        if step == 0 and size > 1:
            target, source = target.narrow(dimension, 0, 1), source.narrow(dimension, 0, 1)
    target.copy_(source)


def copied(tensor: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Copy a tensor with its layout, perhaps to another dtype."""
    made = empty_as(tensor, dtype)
    assign(made, tensor)
    return made


def is_integer(dtype: torch.dtype | None) -> bool:
    """Return whether a type holds integers: no truth values, and no numbers with a fraction."""
    return dtype is not None and dtype != torch.bool and not dtype.is_floating_point and not dtype.is_complex


def copied_inputs(inputs: Sequence[Any], dtype: torch.dtype | None = None) -> tuple[Any, ...]:
    """Copy the tensors of inputs with their layout, perhaps floating-point ones to another dtype."""

    def one(tensor: torch.Tensor) -> torch.Tensor:
        return copied(tensor, dtype if tensor.is_floating_point() else None)

    return tuple(tree_map_only(torch.Tensor, one, value) for value in inputs)


def without_repeats(tensor: torch.Tensor) -> torch.Tensor:
    """View a tensor with one element along each expanded dimension."""
    for dimension, (size, step) in enumerate(zip(tensor.shape, tensor.stride(), strict=True)):
        if step == 0 and size > 1:
            tensor = tensor.narrow(dimension, 0, 1)
    return tensor


def words(tensor: torch.Tensor) -> torch.Tensor:
    """View the elements of a tensor, each expanded one once, as integers, of eight bytes where that is possible."""
    flat = without_repeats(tensor).detach().contiguous().reshape(-1).view(torch.uint8)
    return flat.view(torch.int64) if flat.numel() % 8 == 0 and flat.data_ptr() % 8 == 0 else flat


def same_bits(one: torch.Tensor, other: torch.Tensor, equal: Callable[..., bool] = torch.equal) -> bool:
    """Return whether two tensors have the same dtype, shape and values, bit by bit, so that NaN equals NaN.

    Args:
        one: a tensor.
        other: another one.
        equal: `torch.equal` as it was when this module was imported: a candidate could put another in its place.
    """
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.stride() != other.stride():
        one, other = one.contiguous(), other.contiguous()
    return equal(words(one), words(other))


def differing_bits(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Compare two tensors of one dtype and shape like `same_bits`; return True, on their device, where they differ."""
    if one.stride() != other.stride():
        one, other = one.contiguous(), other.contiguous()
    these, those = words(one), words(other)
    if these.dtype != those.dtype:
        these, those = these.view(torch.uint8), those.view(torch.uint8)
    return (these != those).any()


def computable(tensor: torch.Tensor) -> torch.Tensor:
    """Return an 8-bit floating-point tensor in float32, with which torch computes on no device."""
    return tensor.float() if tensor.is_floating_point() and tensor.element_size() == 1 else tensor


def same_values(values: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return where two tensors hold the same value, NaN included, as truth values."""
    values, others = computable(values), computable(others)
    return (values == others) | ((values != values) & (others != others))


def same_strides(shape: Sequence[int], one: Sequence[int], other: Sequence[int]) -> bool:
    """Return whether strides place all elements alike; the stride of a dimension of size 1 does not matter."""
    return 0 in shape or all(a == b for size, a, b in zip(shape, one, other, strict=True) if size > 1)


def dtype_name(dtype: torch.dtype) -> str:
    """Return `bfloat16` for `torch.bfloat16`."""
    return str(dtype).removeprefix("torch.")
