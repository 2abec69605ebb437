"""Decompose operations for TorchInductor, and keep those whole for which it has no good Triton.

`Any`: tables of decompositions hold operators of torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NoReturn

import torch

from kopt.errors import SeedError
from kopt.seed.operations import wide_sums
from kopt.seed.operations.own_operators import own_operators

UNROLLED = 32
"""Most elements of a pooling window that TorchInductor reads one after the other, fused with what comes before."""
AVERAGED = 25
"""The same for average pooling, by a rule of TorchInductor's."""
Table = dict[Any, Callable[..., Any]]


def table(inductor: Table) -> Table:
    """Return a table of decompositions: TorchInductor's, and those that keep operators whole."""
    operators = own_operators()
    aten = torch.ops.aten
    own: Table = {
        aten.convolution.default: lambda *args: _convolution(operators, *args),
        aten.convolution_backward.default: _no_convolution_backward,
        aten.topk.default: lambda *args, **kwargs: _top_k(operators, *args, **kwargs),
        aten.sort.default: lambda x, dim=-1, descending=False: _sort(operators, x, dim, descending),
        aten.sort.stable: lambda x, stable=None, dim=-1, descending=False: _sort(operators, x, dim, descending),
    }
    for dimensions in (2, 3):
        operator = getattr(aten, f"max_pool{dimensions}d_with_indices").default
        own[operator] = _max_pool(operators, dimensions, inductor.get(operator))
    for dimensions in (1, 2, 3):
        operator = getattr(aten, f"avg_pool{dimensions}d").default
        own[operator] = _average_pool(operators, dimensions, inductor.get(operator))
    return inductor | own | wide_sums.table(inductor)


def _convolution(
    operators: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, stride: Sequence[int],
    padding: Sequence[int], dilation: Sequence[int], transposed: bool, output_padding: Sequence[int], groups: int,
) -> Any:  # fmt: skip
    dimensions = weight.dim() - 2
    stride, padding, dilation = (_all(v, dimensions) for v in (stride, padding, dilation))
    if transposed:
        made = operators.convolution_transpose(
            x, weight, stride, padding, _all(output_padding, dimensions), dilation, groups
        )
    elif dimensions == 1 or any(d != 1 for d in dilation) or groups > 1 or _varies(weight) or _may_take_tf32(weight):
        if _is_depthwise(weight, groups):
            made = operators.depthwise_convolution(x, weight, stride, padding, dilation)
        else:
            made = operators.convolution(x, weight, stride, padding, dilation, groups)
    else:
        return NotImplemented
    return made if bias is None else made + bias.view(-1, *[1] * dimensions)


def _is_depthwise(weight: torch.Tensor, groups: int) -> bool:
    """Return whether each group has one input channel in every workload, and there may be several groups."""
    single = isinstance(groups, int) and groups == 1
    return isinstance(weight.shape[1], int) and weight.shape[1] == 1 and not single


def _no_convolution_backward(*args: Any, **kwargs: Any) -> NoReturn:
    raise SeedError("TorchInductor has no Triton for aten.convolution_backward, and kopt no template")


def _varies(weight: torch.Tensor) -> bool:
    """Return whether the workloads change a weight's sizes: TorchInductor's templates would take them for constants."""
    return any(not isinstance(size, int) for size in weight.shape)


def _may_take_tf32(weight: torch.Tensor) -> bool:
    """Return whether a convolution takes TF32, as the template does: TorchInductor's are exact, and much slower."""
    return weight.dtype is torch.float32 and bool(torch.backends.cudnn.conv.fp32_precision == "tf32")  # type: ignore[attr-defined]


def _max_pool(operators: Any, dimensions: int, inductor: Callable[..., Any] | None) -> Callable[..., Any]:
    def decomposed(
        x: torch.Tensor, kernel: Sequence[int], stride: Sequence[int] = (), padding: Sequence[int] = (0,),
        dilation: Sequence[int] = (1,), ceil: bool = False,
    ) -> Any:  # fmt: skip
        kernel, padding, dilation = (_all(v, dimensions) for v in (kernel, padding, dilation))
        step = _all(stride or kernel, dimensions)
        unrolled = NotImplemented
        if prod(kernel) <= UNROLLED - 7:
            unrolled = inductor(x, kernel, step, padding, dilation, ceil) if inductor else NotImplemented
            if not _overlap(x, kernel, step):
                return unrolled
        made = operators.max_pool(x, kernel, step, padding, dilation, ceil)
        # unread indexes fall away; those of large windows are read by nobody, or the seed is wrong and refused
        return made, made.to(torch.int64) if unrolled is NotImplemented else unrolled[1]

    return decomposed


def _overlap(x: torch.Tensor, kernel: Sequence[int], stride: Sequence[int]) -> bool:
    """Return whether windows have more elements than steps, and numbers of a type that the template is exact for.

    TorchInductor reads a number again for each window that it lies in, and computes again what comes before.
    """
    return x.dtype in (torch.float32, torch.bfloat16, torch.float16) and prod(kernel) > prod(stride)


def _average_pool(operators: Any, dimensions: int, inductor: Callable[..., Any] | None) -> Callable[..., Any]:
    def decomposed(
        x: torch.Tensor, kernel: Sequence[int], stride: Sequence[int] = (), padding: Sequence[int] = (0,),
        ceil: bool = False, count_padding: bool = True, divisor: int | None = None,
    ) -> Any:  # fmt: skip
        kernel, padding = _all(kernel, dimensions), _all(padding, dimensions)
        step = _all(stride or kernel, dimensions)
        if dimensions > 1 and prod(kernel) <= AVERAGED and not _overlap(x, kernel, step):
            return inductor(x, kernel, step, padding, ceil, count_padding, divisor) if inductor else NotImplemented
        return operators.average_pool(x, kernel, step, padding, ceil, count_padding, divisor)

    return decomposed


def _top_k(
    operators: Any, x: torch.Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    rows = x.movedim(dim, -1).contiguous()
    values, places = operators.top_k(rows, k, largest)
    return values.movedim(-1, dim), places.movedim(-1, dim)


def _sort(operators: Any, x: torch.Tensor, dim: int, descending: bool) -> tuple[torch.Tensor, torch.Tensor]:
    if x.dim() == 0:
        return x.clone(), torch.zeros_like(x, dtype=torch.int64)
    kind = torch.int8 if x.dtype is torch.bool else x.dtype  # Triton stores truth values as whole numbers
    values, places = operators.sort(x.to(kind).movedim(dim, -1).contiguous(), descending)
    return values.movedim(-1, dim).to(x.dtype), places.movedim(-1, dim)


def _all(values: Sequence[int], dimensions: int) -> list[int]:
    return list(values) * dimensions if len(values) == 1 else list(values)
