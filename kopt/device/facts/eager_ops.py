"""Record the operations of a reference as eager PyTorch runs them on a GPU, fused ones as one kernel.

`Any`: torch passes operations, their arguments and results untyped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from kopt.device.reference.dispatch import DispatchMode
from kopt.device.reference.elsewhere.policy import as_converted
from kopt.device.reference.layout import dtype_name
from kopt.device.reference.tree import tensors_of
from kopt.model.problem import EagerOp

FREE = {"_unsafe_view", "_reshape_alias", "detach", "alias", "lift_fresh", "empty", "empty_like", "empty_strided"}
"""Operations that move no bytes though torch does not mark them as views."""

MOVES_ONLY = {
    "_to_copy", "clone", "copy_", "copy", "fill", "fill_", "zeros", "ones", "full", "zero_", "zeros_like", "ones_like",
    "full_like", "scalar_tensor", "cat", "stack", "constant_pad_nd", "arange", "repeat", "flip", "roll", "index_select",
    "gather", "index", "embedding", "new_zeros", "new_ones", "new_full", "tril", "triu", "diag_embed", "expand_copy",
    "reflection_pad1d", "reflection_pad2d", "replication_pad2d", "pixel_shuffle", "im2col", "eye", "linspace",
    "channel_shuffle", "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "one_hot",
}  # fmt: skip
"""Operations that move bytes and compute nothing."""

REDUCTIONS = {
    "sum", "mean", "amax", "amin", "max", "min", "var", "var_mean", "std", "std_mean", "argmax", "argmin", "prod",
    "any", "all", "logsumexp", "norm", "linalg_vector_norm", "aminmax", "count_nonzero",
}  # fmt: skip
"""Operations that count one floating-point operation per element of the input, not of the output."""

PER_OUTPUT = {
    "_softmax": 5, "_log_softmax": 5, "_safe_softmax": 5, "native_layer_norm": 8, "native_group_norm": 8,
    "native_batch_norm": 8, "_native_batch_norm_legit_no_training": 8, "_native_batch_norm_legit": 8,
}  # fmt: skip
"""Floating-point operations per output element of composed kernels: subtract, exponential, add, divide and so on."""

ONE_KERNEL = {
    "cumsum", "cumprod", "cummax", "cummin", "nll_loss_forward", "nll_loss2d_forward", "mse_loss", "l1_loss",
    "smooth_l1_loss", "huber_loss", "binary_cross_entropy", "index_add", "index_add_", "scatter_add", "scatter_add_",
    "scatter", "scatter_", "index_put", "index_put_", "masked_fill", "masked_fill_", "where", "native_dropout", "glu",
    "_prelu_kernel", "upsample_bilinear2d", "upsample_trilinear3d", "upsample_bicubic2d", "addcmul", "addcdiv", "dot",
    "_embedding_bag", "rrelu_with_noise", "tril_", "triu_", "bernoulli", "bernoulli_", "uniform_", "normal_",
    "rand", "randn", "rand_like", "randn_like", "multi_margin_loss", "multilabel_margin_loss_forward",
}  # fmt: skip
"""Operations that are no pointwise ones, and that run as about one pass over their inputs and outputs."""

FUSED: dict[Callable[..., Any], str] = {
    F.scaled_dot_product_attention: "scaled_dot_product_attention",
    F.rms_norm: "rms_norm",
    torch.rms_norm: "rms_norm",
}
"""Functions that are one kernel on a GPU, and several operations elsewhere."""

LIBRARIES: dict[Callable[..., Any], str] = {
    function: function.__name__
    for function in (torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu, F.multi_head_attention_forward)
}
"""Functions that a library implements in its own way on a GPU, in a time that is not known."""


class Node(NamedTuple):
    """One operation of the reference, with the tensors that it reads and writes."""

    func: torch._ops.OpOverload
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    read: list[torch.Tensor]
    written: list[torch.Tensor]


class EagerOps(DispatchMode):
    """Collect the aten operations that move or compute something; use `recording` to see fused functions too."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not type it
        self.operations: list[EagerOp] = []
        self.nodes: list[Node] = []
        """Every operation but views, those inside fused functions too."""
        self.inside = 0
        """Number of fused functions that run at the moment."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and count it."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if isinstance(func, torch._ops.OpOverload) and not func.is_view and tensors_of(out):
            self.nodes.append(Node(func, args, kwargs, tensors_of((args, kwargs)), tensors_of(out)))
            if not self.inside and base_name(func) not in FREE:
                self.operations.append(_op(func, args, kwargs, out))
        return out


class _FusedFunctions(TorchFunctionMode):
    """Count functions that are one kernel on a GPU as one operation."""

    def __init__(self, eager: EagerOps) -> None:
        super().__init__()
        self._eager = eager

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = FUSED.get(func) or LIBRARIES.get(func)
        if name is None:
            return func(*args, **kwargs)
        args, kwargs = as_converted(name, args, kwargs)  # by kernels of their own
        self._eager.inside += 1
        try:
            out = func(*args, **kwargs)
        finally:
            self._eager.inside -= 1
        if not self._eager.inside:
            self._eager.operations.append(_fused_op(name, func in FUSED, args, kwargs, out))
        return out


@contextmanager
def recording() -> Iterator[EagerOps]:
    """Record the operations of the block as a GPU runs them."""
    eager = EagerOps()
    with _FusedFunctions(eager), eager:
        yield eager


def _fused_op(name: str, known: bool, args: Any, kwargs: Any, out: Any) -> EagerOp:
    moved = sum(t.numel() * t.element_size() for t in [*tensors_of((args, kwargs)), *tensors_of(out)])
    if name != "scaled_dot_product_attention":
        return EagerOp(
            name=name, bytes=moved, matmul_flops=0, vector_flops=8 * sum(t.numel() for t in tensors_of(out)),
            known=known,
        )  # fmt: skip
    query, key, value = args[:3] if len(args) > 2 else (*args, *(kwargs[n] for n in ("query", "key", "value")))[:3]
    rows, columns = query.shape[-2], key.shape[-2]
    products = 2 * prod(query.shape[:-2]) * rows * columns * (query.shape[-1] + value.shape[-1])
    if kwargs.get("is_causal") or (len(args) > 5 and args[5]):
        products //= 2
    fused = query.dtype in (torch.float16, torch.bfloat16)
    return EagerOp(
        name=name, bytes=moved, matmul_flops=products, vector_flops=5 * prod(query.shape[:-2]) * rows * columns,
        known=known and fused, operands=dtype_name(query.dtype),
    )  # fmt: skip


def _op(func: torch._ops.OpOverload, args: Any, kwargs: Any, out: Any) -> EagerOp:
    from torch.utils.flop_counter import (
        flop_registry,  # here, because it imports Triton, and a judge chooses Triton's mode first
    )

    read, written = tensors_of((args, kwargs)), tensors_of(out)
    formula = flop_registry.get(func.overloadpacket)
    return EagerOp(
        name=str(func),
        bytes=sum(tensor.numel() * tensor.element_size() for tensor in [*read, *written]),
        matmul_flops=int(formula(*args, **kwargs, out_val=out)) if formula else 0,
        vector_flops=0 if formula else _vector_flops(base_name(func), args, read, written),
        known=formula is not None or _one_pass(func),
        exact=formula is not None and bool(read) and read[0].dtype == torch.float32 and not _may_use_tf32(func),
        operands=dtype_name(read[0].dtype) if formula and read else "",
    )


def _may_use_tf32(func: torch._ops.OpOverload) -> bool:
    """Return whether PyTorch, as the reference has set it, takes TF32 for float32 operands of a product."""
    if "convolution" in base_name(func):
        return bool(torch.backends.cudnn.conv.fp32_precision == "tf32")  # type: ignore[attr-defined]
    return bool(torch.backends.cuda.matmul.fp32_precision == "tf32")


def _one_pass(func: torch._ops.OpOverload) -> bool:
    """Return whether an operation's time is about that of one pass over its inputs and outputs."""
    name = base_name(func)
    return (
        torch.Tag.pointwise in func.tags
        or name in MOVES_ONLY
        or name in REDUCTIONS
        or name in PER_OUTPUT
        or name in ONE_KERNEL
        or "_pool" in name
        or name.rstrip("_") in ONE_KERNEL
    )


def _vector_flops(name: str, args: Sequence[object], read: list[torch.Tensor], written: list[torch.Tensor]) -> int:
    outputs = written[0].numel() if written else 0
    if name in MOVES_ONLY:
        return 0
    if name in REDUCTIONS:
        return max((tensor.numel() for tensor in read), default=0)
    if "_pool" in name and len(args) > 1 and isinstance(args[1], list | tuple):
        return outputs * prod(args[1])
    return outputs * PER_OUTPUT.get(name, 1)


def base_name(func: torch._ops.OpOverload) -> str:
    """Return the name of an operation without its namespace and overload, e.g. `mm`."""
    return str(func.overloadpacket.__name__)
