"""Call other functions in place of torch's while a reference is traced, where torch's would take a size for a constant.

`scaled_dot_product_attention` becomes the operator `attention`, and numbers become operations that make a tensor of
them.  `Any`: functions of torch take and return anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from kopt.device.build.stub_gpu import CUDA
from kopt.seed.operations.own_operators import own_operators
from kopt.seed.operations.written_attention import WrittenAttention, is_converted

FLASH = 256
"""Largest head dimension for the template of attention."""
MOST_NUMBERS = 64
"""Most Python numbers of a tensor in a graph."""
_MAKERS = (torch.tensor, torch.as_tensor, torch.scalar_tensor)
_POOLED = (torch.nn.functional.max_pool1d, torch.max_pool1d)


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


def written_attention() -> WrittenAttention:
    """Return what recognises attention that a reference writes out, and calls the template in its place."""
    return WrittenAttention(own_operators().attention, FLASH)
