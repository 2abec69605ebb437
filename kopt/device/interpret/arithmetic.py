"""The interpreter's arithmetic as on a GPU: bfloat16 and 8-bit numbers are computed as values and rounded.

Importing this module imports Triton; see `kopt.device.interpret.patch`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import triton.language as tl
from triton._C.libtriton import ir
from triton.runtime import interpreter

from kopt.device.interpret import numbers

Builder = interpreter.InterpreterBuilder
Handle = interpreter.TensorHandle


def is_bfloat16(handle: Any) -> bool:
    """Whether a value or all elements of a block are bfloat16."""
    return bool(handle.dtype.scalar == tl.bfloat16)


def _widened(handle: Any) -> Any:
    return numbers.decode(handle.data, "bf16")


def _bfloat16(values: Any) -> Any:
    """A handle of bfloat16 with these values rounded."""
    return Handle(numbers.encode(values, "bf16"), tl.bfloat16)


def install_arithmetic() -> None:
    """Change the interpreter of this process."""
    _install_conversions()
    for name in ("binary_op", "unary_op"):
        setattr(Builder, name, _in_bfloat16(getattr(Builder, name)))
    fma, clamp = Builder.create_fma, Builder.create_clampf
    Builder.create_fma = _with_bfloat16(fma, lambda x, y, z: x * y + z)
    Builder.create_clampf = _with_bfloat16(clamp, np.clip)
    Builder.get_bf16 = lambda self, value: _bfloat16(np.array([value], dtype=np.float32))
    Builder.create_erf = lambda self, handle: Handle(numbers.erf(handle.data), handle.dtype.scalar)
    Builder.create_dot = _dot
    Builder.create_splat = _true_to_itself(Builder.create_splat)
    interpreter.ReduceOps.apply_impl = _reduced_wide(interpreter.ReduceOps.apply_impl)
    interpreter.ReduceOps.generic_reduce = _tree_reduce
    interpreter.ScanOps.apply_impl = _reduced_wide(interpreter.ScanOps.apply_impl)


def _true_to_itself(splat: Callable[..., Any]) -> Callable[..., Any]:
    """A block of one value, for a condition of conditions: Triton's interpreter makes numbers of the compared type."""

    def spread(self: Any, *args: Any) -> Any:
        made = splat(self, *args)
        if any(isinstance(one, Handle) and one.data.dtype == np.bool_ for one in args):
            made.data = made.data.astype(np.bool_)
        return made

    return spread


def _install_conversions() -> None:
    original = interpreter._convert_float

    def convert(values: Any, source: Any, target: Any, rounding: Any) -> Any:
        if not (numbers.known(source.name) and numbers.known(target.name)):
            return original(values, source, target, rounding)
        truncate = rounding is not None and rounding == ir.ROUNDING_MODE.RTZ
        return numbers.encode(numbers.decode(np.ascontiguousarray(values), source.name), target.name, truncate)

    interpreter._convert_float = convert


def _in_bfloat16(original: Callable[..., Any]) -> Callable[..., Any]:
    """`original` (an operation on handles and a numpy function) on the values of bfloat16 instead of their bits."""
    bitwise = (np.bitwise_and, np.bitwise_or, np.bitwise_xor)

    def operation(self: Any, *arguments: Any) -> Any:
        *handles, function = arguments
        if function in bitwise or not all(map(is_bfloat16, handles)):
            return original(self, *handles, function)
        result = function(*map(_widened, handles))
        return Handle(result, tl.bfloat16) if result.dtype == np.bool_ else _bfloat16(result)

    return operation


def _with_bfloat16(original: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    def operation(self: Any, x: Any, y: Any, z: Any, *rest: Any) -> Any:
        if not is_bfloat16(z):
            return original(self, x, y, z, *rest)
        return _bfloat16(function(*map(_widened, (x, y, z))))

    return operation


def _dot(self: Any, a: Any, b: Any, d: Any, *options: Any) -> Any:
    if not a.dtype.scalar.is_floating():
        return Handle(np.matmul(a.data, b.data, dtype=d.data.dtype) + d.data, d.dtype.scalar)
    left, right, start = (numbers.decode(one.data, one.dtype.scalar.name) for one in (a, b, d))
    wide = np.float64 if d.dtype.scalar == tl.float64 else np.float32
    result = np.matmul(left.astype(wide, copy=False), right.astype(wide, copy=False)) + start
    if is_bfloat16(d):
        return _bfloat16(result)
    return Handle(result.astype(start.dtype, copy=False), d.dtype.scalar)


def _reduced_wide(original: Callable[..., Any]) -> Callable[..., Any]:
    """A reduction or scan whose bfloat16 inputs are taken as values, its results rounded."""

    def apply(self: Any, inputs: Any) -> Any:
        narrow = [tensor.dtype == tl.bfloat16 for tensor in inputs]
        if not any(narrow):
            return original(self, inputs)
        wide = tuple(
            _retyped(tensor, Handle(_widened(tensor.handle), tl.float32)) if is_narrow else tensor
            for tensor, is_narrow in zip(inputs, narrow, strict=True)
        )
        results = original(self, wide)
        results = tuple(results) if isinstance(results, list | tuple) else (results,)
        return tuple(
            _retyped(tensor, _bfloat16(tensor.handle.data)) if is_narrow and tensor.dtype == tl.float32 else tensor
            for tensor, is_narrow in zip(results, [*narrow, *[False] * len(results)], strict=False)
        )

    return apply


def _retyped(tensor: Any, handle: Any) -> Any:
    element = handle.dtype
    kind = tl.block_type(element, tensor.type.shape) if tensor.type.is_block() else element
    return tl.core.tensor(handle, kind)


def _tree_reduce(self: Any, inputs: Any) -> list[Any]:
    """Reduce by a function of the kernel's own, halves at a time; Triton's goes element by element."""
    whole = self.axis is None
    axis = 0 if whole else self.axis
    arrays = [
        tensor.handle.data.reshape(-1) if whole else np.moveaxis(tensor.handle.data, axis, 0) for tensor in inputs
    ]
    types = [tensor.dtype for tensor in inputs]
    while (size := arrays[0].shape[0]) > 1:
        half = size // 2
        pairs = [a[:half] for a in arrays] + [a[half : 2 * half] for a in arrays]
        combined = self.combine_fn.fn(*map(self.to_tensor, pairs, types * 2))
        combined = combined if isinstance(combined, tuple) else (combined,)
        arrays = [
            np.concatenate([np.broadcast_to(one.handle.data, a[:half].shape).astype(a.dtype), a[2 * half :]])
            for one, a in zip(combined, arrays, strict=True)
        ]
    ranks = [inputs[0].handle.data.ndim] * len(arrays)
    return [
        self.to_tensor(_kept(a[0], axis, whole, rank) if self.keep_dims else a[0], kind)
        for a, rank, kind in zip(arrays, ranks, types, strict=True)
    ]


def _kept(reduced: Any, axis: int, whole: bool, rank: int) -> Any:
    return np.reshape(reduced, (1,) * rank) if whole else np.expand_dims(reduced, axis)
