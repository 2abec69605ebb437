"""Register operators of kopt's own with torch, which a graph keeps whole: each becomes a call of a template's function.

An operator `kopt_seed::NAME` has the signature of the function NAME in `kopt.seed.templates`.  `Any`: torch types
neither namespaces nor what they hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch

NAMESPACE = "kopt_seed"
_SCHEMAS = {
    "convolution": "(Tensor x, Tensor weight, SymInt[] stride, SymInt[] padding, SymInt[] dilation, SymInt groups) "
    "-> Tensor",
    "depthwise_convolution": "(Tensor x, Tensor weight, SymInt[] stride, SymInt[] padding, SymInt[] dilation) "
    "-> Tensor",
    "convolution_transpose": "(Tensor x, Tensor weight, SymInt[] stride, SymInt[] padding, SymInt[] output_padding, "
    "SymInt[] dilation, SymInt groups) -> Tensor",
    "max_pool": "(Tensor x, SymInt[] kernel, SymInt[] stride, SymInt[] padding, SymInt[] dilation, bool ceil) "
    "-> Tensor",
    "average_pool": "(Tensor x, SymInt[] kernel, SymInt[] stride, SymInt[] padding, bool ceil, bool count_padding, "
    "int? divisor) -> Tensor",
    "attention": "(Tensor query, Tensor key, Tensor value, Tensor? mask, bool causal, float? scale) -> Tensor",
    "product": "(Tensor a, Tensor b, int triangle=0, int diagonal=0) -> Tensor",
    "top_k": "(Tensor x, int k, bool largest) -> (Tensor, Tensor)",
    "sort": "(Tensor x, bool descending) -> (Tensor, Tensor)",
}


@cache
def own_operators() -> Any:
    """Register the operators with torch, and return their namespace."""
    library = torch.library.Library(NAMESPACE, "DEF")
    for name, schema in _SCHEMAS.items():
        library.define(f"{name}{schema}")
        _kept.append(torch.library.register_fake(f"{NAMESPACE}::{name}", _FAKES[name], lib=library))
    _kept.append(library)
    return torch.ops.kopt_seed


_kept: list[Any] = []


def _pooled(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil: bool) -> int:
    reach = size + 2 * padding - dilation * (kernel - 1) - 1
    if not ceil:
        return reach // stride + 1
    count = (reach + stride - 1) // stride + 1
    return count - 1 if (count - 1) * stride >= size + padding else count


def _fake_max_pool(
    x: torch.Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int],
    ceil: bool,
) -> torch.Tensor:  # fmt: skip
    n = len(kernel)
    sizes = [_pooled(*five, ceil) for five in zip(x.shape[-n:], kernel, stride, padding, dilation, strict=True)]
    return x.new_empty([*x.shape[:-n], *sizes])


def _fake_average_pool(
    x: torch.Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], ceil: bool,
    count_padding: bool, divisor: int | None,
) -> torch.Tensor:  # fmt: skip
    return _fake_max_pool(x, kernel, stride, padding, [1] * len(kernel), ceil)


def _fake_convolution(
    x: torch.Tensor, weight: torch.Tensor, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int],
    groups: int,
) -> torch.Tensor:  # fmt: skip
    n = len(stride)
    five = zip(x.shape[-n:], weight.shape[-n:], stride, padding, dilation, strict=True)
    return x.new_empty([*x.shape[: -n - 1], weight.shape[0], *(_pooled(*values, False) for values in five)])


def _fake_depthwise_convolution(
    x: torch.Tensor, weight: torch.Tensor, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> torch.Tensor:
    return _fake_convolution(x, weight, stride, padding, dilation, 1)


def _fake_convolution_transpose(
    x: torch.Tensor, weight: torch.Tensor, stride: Sequence[int], padding: Sequence[int], output_padding: Sequence[int],
    dilation: Sequence[int], groups: int,
) -> torch.Tensor:  # fmt: skip
    n = len(stride)
    six = zip(x.shape[-n:], weight.shape[-n:], stride, padding, output_padding, dilation, strict=True)
    sizes = [(i - 1) * s - 2 * p + d * (k - 1) + extra + 1 for i, k, s, p, extra, d in six]
    return x.new_empty([*x.shape[: -n - 1], weight.shape[1] * groups, *sizes])


def _fake_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, causal: bool,
    scale: float | None,
) -> torch.Tensor:  # fmt: skip
    return query.new_empty(query.shape)


def _fake_product(a: torch.Tensor, b: torch.Tensor, triangle: int = 0, diagonal: int = 0) -> torch.Tensor:
    return a.new_empty([*a.shape[:-1], b.shape[-1]])


def _fake_top_k(x: torch.Tensor, k: int, largest: bool) -> tuple[torch.Tensor, torch.Tensor]:
    shape = [*x.shape[:-1], k]
    return x.new_empty(shape), x.new_empty(shape, dtype=torch.int64)


def _fake_sort(x: torch.Tensor, descending: bool) -> tuple[torch.Tensor, torch.Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape, dtype=torch.int64)


_FAKES: dict[str, Callable[..., Any]] = {
    "convolution": _fake_convolution,
    "depthwise_convolution": _fake_depthwise_convolution,
    "convolution_transpose": _fake_convolution_transpose,
    "max_pool": _fake_max_pool,
    "average_pool": _fake_average_pool,
    "attention": _fake_attention,
    "product": _fake_product,
    "top_k": _fake_top_k,
    "sort": _fake_sort,
}
