"""Keep operators whole for which TorchInductor has no good Triton: each becomes a call of a template's function.

An operator `kopt_seed::NAME` has the signature of the function NAME in `kopt.seed.templates`.  `Any`: tables of
decompositions hold operators of torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from math import prod
from typing import Any, NoReturn

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from kopt.device.build.stub_gpu import CUDA
from kopt.errors import SeedError
from kopt.seed.operations import wide_sums
from kopt.seed.operations.written_attention import WrittenAttention, is_converted

NAMESPACE = "kopt_seed"

UNROLLED = 32
"""Most elements of a pooling window that TorchInductor reads one after the other, fused with what comes before."""
AVERAGED = 25
"""The same for average pooling, by a rule of TorchInductor's."""
FLASH = 256
"""Largest head dimension for the template of attention."""

MOST_NUMBERS = 64
"""Most Python numbers of a tensor in a graph."""
_MAKERS = (torch.tensor, torch.as_tensor, torch.scalar_tensor)
_POOLED = (torch.nn.functional.max_pool1d, torch.max_pool1d)

Table = dict[Any, Callable[..., Any]]

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


class Whole(TorchFunctionMode):
    """Keep calls of `scaled_dot_product_attention` whole where the template takes them, and numbers in the graph.

    A reference that differentiates is traced on the CPU, and the template has no gradient.
    """

    def __init__(self, differentiates: bool = False, written: WrittenAttention | None = None) -> None:
        """Make the mode.

        Args:
            differentiates: the reference takes a gradient.
            written: recognises attention that the reference writes out; None where it is to stay as it is.
        """
        super().__init__()
        self._differentiates = differentiates
        self._written = None if differentiates else written

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call a function of torch, or in its place the operator `attention`, or what fills a tensor with numbers."""
        kwargs = kwargs or {}
        if func is torch.nn.functional.scaled_dot_product_attention:
            return _outside(_attention, args, kwargs | {"template": not self._differentiates})
        if func is torch.nn.functional.linear:
            return _linear(*args, **kwargs)
        if func is torch.nn.functional.group_norm and isinstance(args[1], torch.SymInt):
            return _outside(_group_norm, args, kwargs, torch.float32)
        if func is torch.nn.functional.one_hot and isinstance(_classes(*args, **kwargs), torch.SymInt):
            return _one_hot(*args, **kwargs)
        if func is torch.linspace and isinstance(kwargs.get("steps", args[-1] if args else None), torch.SymInt):
            return _linspace(*args, **kwargs)
        if func is torch.Tensor.unfold and any(isinstance(value, torch.SymInt) for value in args[2:]):
            return _unfold(*args)
        if func in _POOLED and args[0].dim() in (2, 3):
            return _max_pool_of_rows(*args, **kwargs)
        if func in _MAKERS and args and _is_plain(args[0]) and not self._differentiates:
            return _made(args[0], kwargs.get("dtype"))
        return func(*args, **kwargs) if self._written is None else self._written.call(func, args, kwargs)


def _outside(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], dtype: torch.dtype | None = None
) -> Any:
    """Call what stands for an operation that a region of `torch.autocast` computes in one type, outside of the region.

    Args:
        function: the function.
        args: its arguments.
        kwargs: those given by name.
        dtype: the type; None for that of the region.
    """
    if not torch.is_autocast_enabled("cuda"):
        return function(*args, **kwargs)
    one = torch.get_autocast_dtype("cuda") if dtype is None else dtype
    args, kwargs = tree_map_only(
        torch.Tensor, lambda value: value.to(one) if is_converted(value) else value, (args, kwargs)
    )
    with torch.autocast("cuda", enabled=False):
        return function(*args, **kwargs)


def _linear(input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Multiply by a weight, in three dimensions and more as rows: torch's own takes their sizes for constants."""
    if bias is None or input.dim() < 3:
        return torch.nn.functional.linear(input, weight, bias)
    return torch.addmm(bias, input.flatten(0, -2), weight.t()).reshape(*input.shape[:-1], weight.shape[0])


def _max_pool_of_rows(
    x: torch.Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """Pool along the last dimension, as images of one line: torch's own operator takes sizes for constants."""
    kernel, step, edge, apart = (
        value[0] if isinstance(value, list | tuple) else value
        for value in (kernel_size, kernel_size if stride is None or stride == [] else stride, padding, dilation)
    )
    pool: Any = torch.nn.functional.max_pool2d
    made = pool(x.unsqueeze(-2), (1, kernel), (1, step), (0, edge), (1, apart), ceil_mode, return_indices)
    return tuple(part.squeeze(-2) for part in made) if return_indices else made.squeeze(-2)


def _group_norm(
    x: torch.Tensor, groups: Any, weight: torch.Tensor | None = None, bias: torch.Tensor | None = None,
    eps: float = 1e-5,
) -> torch.Tensor:  # fmt: skip
    """Normalise groups whose number the workloads change: torch's own operator takes it for a constant."""
    count, channels, *rest = x.shape
    grouped = x.float().reshape(count, groups, channels // groups, *rest)
    within = list(range(2, grouped.dim()))
    variance, mean = torch.var_mean(grouped, dim=within, correction=0, keepdim=True)
    normal = ((grouped - mean) * torch.rsqrt(variance + eps)).reshape(x.shape)
    along = [1, channels, *[1] * len(rest)]
    normal = normal if weight is None else normal * weight.view(along)
    return (normal if bias is None else normal + bias.view(along)).to(x.dtype)


def _classes(tensor: torch.Tensor, num_classes: Any = -1) -> Any:
    """Return the number of classes of a call of `one_hot`."""
    return num_classes


def _one_hot(tensor: torch.Tensor, num_classes: Any = -1) -> torch.Tensor:
    """Mark classes whose number the workloads change: torch's own operator takes it for a constant."""
    return (tensor.unsqueeze(-1) == torch.arange(num_classes, device=tensor.device)).to(torch.int64)


def _linspace(
    start: Any, end: Any, steps: Any, *, dtype: torch.dtype | None = None, device: Any = None, **_: Any
) -> torch.Tensor:
    """Make numbers at equal distances, whose count the workloads change: torch's own operator takes it for a constant.

    The second half is counted from the end, as torch does it.
    """
    dtype = dtype or torch.get_default_dtype()
    made = dtype if dtype.is_floating_point else torch.get_default_dtype()
    place, step = torch.arange(steps, device=device).to(made), (end - start) / torch.sym_max(steps - 1, 1)
    return torch.where(place < steps // 2, start + step * place, end - step * (steps - 1 - place)).to(dtype)


def _unfold(tensor: torch.Tensor, dimension: int, size: Any, step: Any) -> torch.Tensor:
    """Take windows whose size or step the workloads change: torch's own operator takes these for constants."""
    along = tensor.movedim(dimension, -1)
    first = torch.arange((along.shape[-1] - size) // step + 1, device=tensor.device) * step
    windows = along[..., first[:, None] + torch.arange(size, device=tensor.device)]
    return windows.movedim(-2, dimension % tensor.dim())


def _is_plain(data: object) -> bool:
    if isinstance(data, list | tuple):
        return 0 < len(data) <= MOST_NUMBERS and all(isinstance(item, int | float) for item in data)
    return isinstance(data, int | float | torch.SymInt | torch.SymFloat)


def _made(data: Any, dtype: torch.dtype | None) -> torch.Tensor:
    """Make a tensor of Python numbers by operations, since a graph holds no values of a device that is not there."""
    if isinstance(data, list | tuple):
        kinds = {type(item) for item in data}
        kind = torch.get_default_dtype() if float in kinds else torch.bool if kinds == {bool} else torch.int64
        return torch.stack([torch.full((), item, dtype=dtype or kind, device=CUDA) for item in data])
    of_size = torch.int64 if isinstance(data, torch.SymInt) else None
    return torch.full((), data, dtype=dtype or of_size, device=CUDA)


def _attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
    template: bool = True,
) -> torch.Tensor:  # fmt: skip
    if enable_gqa and query.shape[-3] != key.shape[-3]:
        repeats = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(repeats, -3), value.repeat_interleave(repeats, -3)
    head = query.shape[-1]
    plain = scale is None or type(scale) is float
    if template and query.dim() == 4 and head <= FLASH and value.shape[-1] == head and plain:
        if attn_mask is not None:
            attn_mask = attn_mask.expand(*query.shape[:-1], key.shape[-2])
        return own_operators().attention(query, key, value, attn_mask, is_causal, scale)  # type: ignore[no-any-return]
    scale = head**-0.5 if scale is None else scale
    scores = (query.float() @ key.float().transpose(-2, -1)) * scale
    if is_causal:
        rows = torch.arange(query.shape[-2], device=query.device)[:, None]
        scores = scores.masked_fill(torch.arange(key.shape[-2], device=query.device)[None, :] > rows, float("-inf"))
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, float("-inf")) if attn_mask.dtype is torch.bool else scores + attn_mask
    return torch.softmax(scores, dim=-1).to(value.dtype) @ value


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


def written_attention() -> WrittenAttention:
    """Return what recognises attention that a reference writes out, and calls the template in its place."""
    return WrittenAttention(own_operators().attention, FLASH)


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
