"""Compute operations in the types in which a GPU computes them under `torch.autocast`, on whatever device.

torch has kernels for this that look at tensors on a GPU alone.  Those of this module have a dispatch key of their own,
that of a device which torch has no such kernels for.  They stand where torch's do, above the parts of an operation
(`linear` is one operation) and above gradients, and modes see the conversions that they make, as any other operation.
What an operation is made of is computed without them.  `Any`: torch passes arguments and results untyped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import torch
from torch.utils._pytree import tree_map_only

from kopt.device.reference.other_type import Region, current_pass
from kopt.device.reference.tree import tensors_of

DEVICE, KEY = "ipu", "AutocastIPU"
"""Type of the device whose state of `torch.autocast` says whether the policy holds, and with which type; its key."""

LOWER = {
    "_convolution", "_convolution.deprecated", "_scaled_dot_product_flash_attention", "_thnn_fused_gru_cell",
    "_thnn_fused_lstm_cell", "addbmm", "addmm", "addmv", "addr", "baddbmm", "bmm", "chain_matmul", "conv1d", "conv2d",
    "conv3d", "conv_tbc", "conv_transpose1d", "conv_transpose2d.input", "conv_transpose3d.input", "convolution",
    "cudnn_convolution", "cudnn_convolution_transpose", "einsum", "gru_cell", "linalg_multi_dot", "linalg_vecdot",
    "linear", "lstm_cell", "matmul", "mm", "mv", "prelu", "rnn_relu_cell", "rnn_tanh_cell",
    "scaled_dot_product_attention",
}  # fmt: skip
"""Operations that are computed in the type of the region."""

RECURRENT = {f"{name}.{form}" for name in ("lstm", "gru", "rnn_tanh", "rnn_relu") for form in ("input", "data")}
"""Recurrent layers, which cuDNN computes on a GPU as a whole, in the type of the region."""

FLOAT32 = {
    "_upsample_bicubic2d_aa", "_upsample_bilinear2d_aa", "_upsample_nearest_exact1d", "_upsample_nearest_exact2d",
    "_upsample_nearest_exact3d", "acos", "asin", "binary_cross_entropy_with_logits", "cdist", "cosh",
    "cosine_embedding_loss", "cosine_similarity", "dist", "erfinv", "exp", "expm1", "frobenius_norm.dim", "group_norm",
    "hinge_embedding_loss", "huber_loss", "kl_div", "l1_loss", "layer_norm", "log", "log10", "log1p", "log2",
    "logsumexp", "margin_ranking_loss", "mse_loss", "multi_margin_loss", "multilabel_margin_loss", "native_layer_norm",
    "nll_loss", "nll_loss2d", "nuclear_norm", "nuclear_norm.dim", "pdist", "poisson_nll_loss", "pow.Scalar",
    "pow.Tensor_Scalar", "pow.Tensor_Tensor", "reciprocal", "renorm", "rms_norm", "rsqrt", "sinh", "smooth_l1_loss",
    "soft_margin_loss", "softplus", "tan", "triplet_margin_loss", "upsample_bicubic2d", "upsample_bilinear2d",
    "upsample_linear1d", "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_trilinear3d",
}  # fmt: skip
"""Operations whose operands become float32."""

FLOAT32_RESULT = {
    "cumprod", "cumsum", "linalg_matrix_norm", "linalg_matrix_norm.str_ord", "linalg_vector_norm", "log_softmax.int",
    "prod", "prod.dim_int", "softmax.int", "sum", "sum.dim_IntList",
}  # fmt: skip
"""Operations that compute in float32 by their argument `dtype`, where the reference gives none."""

NORMS = {"norm.Scalar": "norm.ScalarOpt_dtype", "norm.ScalarOpt_dim": "norm.ScalarOpt_dim_dtype"}
"""Norms, each with the form that takes a type, which is float32."""

WIDEST = {
    "addcdiv", "addcmul", "atan2", "bilinear", "cross", "dot", "grid_sampler", "index_put", "scatter_add", "tensordot",
    "vdot",
}  # fmt: skip
"""Operations that are computed in float32 where an operand has it, else in the type of the region."""

REFUSED = {"binary_cross_entropy"}
"""Operations that torch refuses in a region."""

Policy = Callable[[Any, Region, tuple[Any, ...], dict[str, Any]], Any]
"""Runs an operation with arguments in the types of a region."""


@contextmanager
def policy_at_hand() -> Iterator[None]:
    """Let the state of `DEVICE` say inside the block whether the policy holds, for tensors of all devices."""
    _registered()
    with torch._C._IncludeDispatchKeyGuard(_key()):
        yield


def region_at_hand() -> Region | None:
    """Return the region in which the reference is; None outside, and where a region changes nothing."""
    if not torch.is_autocast_enabled(DEVICE):
        return None
    dtype, other = torch.get_autocast_dtype(DEVICE), current_pass()
    if other is None:
        return Region(dtype)
    return other.region(dtype)


def as_converted(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of an operation as the region in which the reference is converts them.

    Args:
        name: the operation, of those that are computed in one type.
        args: its arguments.
        kwargs: those given by name.
    """
    region = region_at_hand()
    if region is None or name not in LOWER | FLOAT32 or not has_policy(name):
        return args, kwargs
    return _converted(region, args, kwargs, lower=name in LOWER)


def has_policy(name: str) -> bool:
    """Return whether this version of torch has a kernel for an operation in regions on a GPU."""
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(f"aten::{name}", "AutocastCUDA"))


@cache
def _registered() -> tuple[torch.library.Library, ...]:
    """Register the policy, once in a process, and return what holds it."""
    others = torch.library.Library("_", "IMPL", KEY)
    others.fallback(torch.library.fallthrough_kernel)
    library = torch.library.Library("aten", "IMPL", KEY)
    for names, policy in _POLICIES:
        for name in names:
            if has_policy(name) or names is RECURRENT:
                library.impl(name, partial(_run, policy, _operation(name)))
    return others, library


def _run(policy: Policy, operation: Any, *args: Any, **kwargs: Any) -> Any:
    region = region_at_hand()
    with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(_key())), torch._C.DisableTorchFunction():
        return operation(*args, **kwargs) if region is None else policy(operation, region, args, kwargs)


def _converted(
    region: Region, args: tuple[Any, ...], kwargs: dict[str, Any], *, lower: bool
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return arguments with the tensors converted to one of a region's types."""

    def convert(value: torch.Tensor) -> torch.Tensor:
        if not _is_converted(region, value):
            return value
        if not lower:
            return value.to(region.wide)
        return value.to(region.lower if region.rounded is None else region.rounded).to(region.lower)

    args, kwargs = tree_map_only(torch.Tensor, convert, (args, kwargs))
    return args, kwargs


def _is_converted(region: Region, value: object) -> bool:
    """Return whether a value is a tensor that operations convert; of float64 they convert none."""
    exact = torch.float64 if region.wide is torch.float32 else None
    return isinstance(value, torch.Tensor) and value.is_floating_point() and value.dtype != exact


def _lower(operation: Any, region: Region, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    args, kwargs = _converted(region, args, kwargs, lower=True)
    return operation(*args, **kwargs)


def _float32(operation: Any, region: Region, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    args, kwargs = _converted(region, args, kwargs, lower=False)
    return operation(*args, **kwargs)


def _float32_result(operation: Any, region: Region, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if not _is_converted(region, args[0]):
        return operation(*args, **kwargs)
    place = [argument.name for argument in operation._schema.arguments].index("dtype")
    if len(args) > place:
        args = (*args[:place], args[place] or region.wide, *args[place + 1 :])
    elif kwargs.get("dtype") is None:
        kwargs = kwargs | {"dtype": region.wide}
    return operation(*args, **kwargs)


def _norm(operation: Any, region: Region, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if not _is_converted(region, args[0]):
        return operation(*args, **kwargs)
    typed = _operation(NORMS[_name(operation)])
    left_out = operation._schema.arguments[len(args) :]
    given = [kwargs.get(argument.name, argument.default_value) for argument in left_out]
    return typed(*args, *given, dtype=region.wide)


def _widest(operation: Any, region: Region, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    wide = any(_is_converted(region, value) and value.dtype == region.wide for value in tensors_of((args, kwargs)))
    args, kwargs = _converted(region, args, kwargs, lower=not wide)
    return operation(*args, **kwargs)


def _refused(operation: Any, region: Region, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name = _name(operation)
    raise RuntimeError(f"torch.autocast refuses {name} on a GPU: take {name}_with_logits, without the sigmoid")


_POLICIES: tuple[tuple[Any, Policy], ...] = (
    (LOWER, _lower), (RECURRENT, _lower), (FLOAT32, _float32), (FLOAT32_RESULT, _float32_result), (NORMS, _norm),
    (WIDEST, _widest), (REFUSED, _refused),
)  # fmt: skip


@cache
def _key() -> torch._C.DispatchKey:
    return torch._C._dispatch_key_parse(KEY)


def _operation(name: str) -> Any:
    packet, _, overload = name.partition(".")
    return getattr(getattr(torch.ops.aten, packet), overload or "default")


def _name(operation: Any) -> str:
    return str(operation._schema.name).removeprefix("aten::") + (
        f".{operation._schema.overload_name}" if operation._schema.overload_name else ""
    )
