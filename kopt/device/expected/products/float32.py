"""Multiply float32 numbers with TF32 and without: what torch permits, and what becomes of the operands.

TF32 keeps ten bits of a float32's mantissa.  torch's libraries round operands to it; Triton hands them to the tensor
cores as they are, which leave out the other bits, so that every operand moves towards zero.  Products inside torch's
recurrent layers and attention are seen where these are computed product by product (`fused_apart`).  `Any`: torch
passes operations, their arguments and results untyped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from kopt.device.reference.dispatch import DispatchMode

DROPPED = 13
"""Bits of a float32's mantissa that TF32 lacks."""

CONVOLUTIONS: dict[str, tuple[int, ...]] = {
    "convolution": (0, 1),
    "_convolution": (0, 1),
    "convolution_backward": (0, 1, 2),
}
"""Places of the operands that a convolution multiplies, by name of the operation."""

MATRIX_PRODUCTS: dict[str, tuple[int, ...]] = {
    "mm": (0, 1), "bmm": (0, 1), "mv": (0, 1), "dot": (0, 1), "addmm": (1, 2), "addmv": (1, 2), "addbmm": (1, 2),
    "baddbmm": (1, 2),
}  # fmt: skip
"""Places of the operands that a product of matrices multiplies, by name of the operation."""

MULTIPLYING = ("conv", "mm", "mv", "dot", "rnn", "lstm", "gru", "attention", "dist")
"""Parts of the names of operations in which torch may multiply in TF32."""

RECURRENT = (torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu)
"""Functions of torch that compute recurrent layers, on a GPU by cuDNN, whose own setting permits TF32 there."""

_is_recurrent: ContextVar[bool] = ContextVar("is_recurrent", default=False)

_SETTINGS: tuple[Any, ...] = (
    torch.backends.cuda.matmul,
    torch.backends.cudnn.conv,  # type: ignore[attr-defined]  # torch does not type these
    torch.backends.cudnn.rnn,
    torch.backends.mkldnn.matmul,  # type: ignore[attr-defined]
)
"""Objects of torch whose `fp32_precision` sets how float32 numbers are multiplied.

It can always be read; torch's older flags raise an error where somebody has set both.
"""

Operands = Callable[[torch.Tensor], torch.Tensor]
"""Makes of a float32 operand the one in TF32."""


def permits_tf32(operation: str) -> bool:
    """Return whether torch, as it is set, may compute an operation on float32 numbers in TF32 on a GPU."""
    if operation in CONVOLUTIONS:
        return bool(torch.backends.cudnn.conv.fp32_precision == "tf32")  # type: ignore[attr-defined]
    setting: Any = torch.backends.cudnn.rnn if _is_recurrent.get() else torch.backends.cuda.matmul
    return operation in MATRIX_PRODUCTS and bool(setting.fp32_precision == "tf32")


@contextmanager
def fused_apart() -> Iterator[None]:
    """Have torch compute recurrent layers and attention product by product inside the block, on every device.

    torch's fused attention on a GPU multiplies float32 numbers in three products of TF32, which are as good as one of
    float32; its unfused one does so in TF32 where products of matrices may be.
    """
    backends: Any = torch.backends
    fast, cuda = backends.mha.get_fastpath_enabled(), backends.cuda
    before = (cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.cudnn_sdp_enabled())
    math = cuda.math_sdp_enabled()
    setters = (cuda.enable_flash_sdp, cuda.enable_mem_efficient_sdp, cuda.enable_cudnn_sdp)
    try:
        backends.mha.set_fastpath_enabled(False)
        cuda.enable_math_sdp(True)
        for enable in setters:
            enable(False)
        with _RecurrentApart():
            yield
    finally:
        for enable, was in zip(setters, before, strict=True):
            enable(was)
        cuda.enable_math_sdp(math)
        backends.mha.set_fastpath_enabled(fast)


class _RecurrentApart(TorchFunctionMode):
    """Compute recurrent layers without the libraries that compute them as a whole."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function of torch."""
        if not any(func is recurrent for recurrent in RECURRENT):
            return func(*args, **(kwargs or {}))
        token = _is_recurrent.set(True)
        on_gpu, on_cpu = torch._C._get_cudnn_enabled(), torch._C._get_mkldnn_enabled()
        try:
            torch._C._set_cudnn_enabled(False)
            torch._C._set_mkldnn_enabled(False)
            return func(*args, **(kwargs or {}))
        finally:
            torch._C._set_cudnn_enabled(on_gpu)
            torch._C._set_mkldnn_enabled(on_cpu)
            _is_recurrent.reset(token)


@contextmanager
def in_float32() -> Iterator[None]:
    """Have torch multiply float32 numbers in float32 inside the block, whatever is set; the settings come back."""
    before = [setting.fp32_precision for setting in _SETTINGS]
    if not {"tf32", "bf16"} & set(before):
        yield
        return
    product = _flag(torch._C._get_float32_matmul_precision, "highest" if before[0] == "tf32" else "high")
    convolution = _flag(torch._C._get_cudnn_allow_tf32, before[1] != "tf32")
    try:
        torch._C._set_float32_matmul_precision("highest")
        torch._C._set_cudnn_allow_tf32(False)
        yield
    finally:
        torch._C._set_float32_matmul_precision(product)
        torch._C._set_cudnn_allow_tf32(convolution)
        for setting, precision in zip(_SETTINGS, before, strict=True):
            setting.fp32_precision = precision


def _flag(read: Callable[[], Any], otherwise: Any) -> Any:
    """Return one of torch's older flags; `otherwise` where torch refuses to, since it contradicts the settings."""
    try:
        return read()
    except RuntimeError:
        return otherwise


class InFloat32(DispatchMode):
    """Compute float32 products in float32 on every device, also where torch is set to compute them in TF32."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not type it
        self.permitted = False
        """Whether torch may have computed one of the operations in TF32."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation."""
        kwargs = kwargs or {}
        name = operation_name(func)
        if not any(part in name for part in MULTIPLYING):
            return func(*args, **kwargs)
        self.permitted |= permits_tf32(name) and bool(args) and is_float32(args[0])
        with in_float32():
            return func(*args, **kwargs)


class InCutTF32(DispatchMode):
    """Cut the operands of float32 products off to TF32, where torch is set so that it may compute them in TF32."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not type it

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation."""
        name = operation_name(func)
        return func(*(with_operands(name, args, cut_to_tf32) if permits_tf32(name) else args), **(kwargs or {}))


def operation_name(func: Any) -> str:
    """Return the name of an operation of torch without its overload; empty for those that have none."""
    return str(func.overloadpacket.__name__) if isinstance(func, torch._ops.OpOverload) else ""


def with_operands(name: str, args: tuple[Any, ...], made: Operands) -> tuple[Any, ...]:
    """Return the arguments of an operation, the float32 numbers that it multiplies changed by `made`."""
    places = (CONVOLUTIONS | MATRIX_PRODUCTS).get(name, ())
    return tuple(made(value) if at in places and is_float32(value) else value for at, value in enumerate(args))


def rounded_to_tf32(values: torch.Tensor) -> torch.Tensor:
    """Round float32 numbers to the eleven significant bits of TF32, as cuDNN does."""
    return _with_bits(values, 1 << (DROPPED - 1))


def cut_to_tf32(values: torch.Tensor) -> torch.Tensor:
    """Cut float32 numbers off to the eleven significant bits of TF32, as tensor cores do with operands of Triton."""
    return _with_bits(values, 0)


def _with_bits(values: torch.Tensor, added: int) -> torch.Tensor:
    bits = values.contiguous().view(torch.int32)
    return torch.where(values.isfinite(), ((bits + added) & ~((1 << DROPPED) - 1)).view(torch.float32), values)


def is_float32(value: Any) -> bool:
    """Return whether a value is a tensor of float32 numbers."""
    return isinstance(value, torch.Tensor) and value.dtype == torch.float32
