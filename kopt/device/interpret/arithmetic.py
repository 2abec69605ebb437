"""Make the interpreter's arithmetic that of a GPU: bfloat16 and 8-bit numbers are computed as values and rounded.

Importing this module imports Triton; see `kopt.device.interpret.patch`.  `Any` stands for the interpreter's builders,
handles (a block's elements with their type) and tensors: Triton ships no types.
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
    """Return whether a handle's elements are bfloat16."""
    return bool(handle.dtype.scalar == tl.bfloat16)


def _widened(handle: Any) -> Any:
    return numbers.decode(handle.data, "bf16")


def _bfloat16(values: Any) -> Any:
    """Return a handle with these values rounded to bfloat16."""
    return Handle(numbers.encode(values, "bf16"), tl.bfloat16)


def install_arithmetic() -> None:
    """Patch arithmetic, conversions, products, reductions and scans of this process's interpreter."""
    _install_conversions()
    for name in ("binary_op", "unary_op"):
        setattr(Builder, name, _in_bfloat16(getattr(Builder, name)))
    fma, clamp = Builder.create_fma, Builder.create_clampf
    Builder.create_fma = _with_bfloat16(fma, lambda x, y, z: x * y + z)
    Builder.create_clampf = _with_bfloat16(clamp, np.clip)
    Builder.get_bf16 = lambda self, value: _bfloat16(np.array([value], dtype=np.float32))
    Builder.create_erf = lambda self, handle: Handle(numbers.erf(handle.data), handle.dtype.scalar)
    Builder.create_dot = _dot
    Builder.create_splat = _keeping_truth_values(Builder.create_splat)
    interpreter.ReduceOps.apply_impl = _in_float32(interpreter.ReduceOps.apply_impl)
    interpreter.ReduceOps.generic_reduce = _tree_reduce
    interpreter.ScanOps.apply_impl = _in_float32(interpreter.ScanOps.apply_impl)


def _keeping_truth_values(splat: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `splat`, which fills a block with one value, so that a truth value stays one.

    Triton's interpreter makes a number of the compared type of it.
    """

    def filled(self: Any, *args: Any) -> Any:
        block = splat(self, *args)
        if any(isinstance(arg, Handle) and arg.data.dtype == np.bool_ for arg in args):
            block.data = block.data.astype(np.bool_)
        return block

    return filled


def _install_conversions() -> None:
    original = interpreter._convert_float

    def convert(values: Any, source: Any, target: Any, rounding: Any) -> Any:
        if not (numbers.is_floating(source.name) and numbers.is_floating(target.name)):
            return original(values, source, target, rounding)
        truncate = rounding is not None and rounding == ir.ROUNDING_MODE.RTZ
        return numbers.encode(numbers.decode(np.ascontiguousarray(values), source.name), target.name, truncate)

    interpreter._convert_float = convert


def _in_bfloat16(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap an operation on handles by a NumPy function so that it computes with bfloat16 values, not bits."""
    bitwise = (np.bitwise_and, np.bitwise_or, np.bitwise_xor)

    def operation(self: Any, *arguments: Any) -> Any:
        *handles, function = arguments
        if function in bitwise or not all(map(is_bfloat16, handles)):
            return original(self, *handles, function)
        result = function(*map(_widened, handles))
        return Handle(result, tl.bfloat16) if result.dtype == np.bool_ else _bfloat16(result)

    return operation


def _with_bfloat16(original: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap an operation on three handles: by `function` on their values where they are bfloat16, else by `original`."""

    def operation(self: Any, x: Any, y: Any, z: Any, *rest: Any) -> Any:
        if not is_bfloat16(z):
            return original(self, x, y, z, *rest)
        return _bfloat16(function(*map(_widened, (x, y, z))))

    return operation


def _dot(self: Any, a: Any, b: Any, d: Any, *options: Any) -> Any:
    """Return `a @ b + d`, accumulated in float32 (float64 where `d` is that)."""
    if not a.dtype.scalar.is_floating():
        return Handle(np.matmul(a.data, b.data, dtype=d.data.dtype) + d.data, d.dtype.scalar)
    left, right, start = (numbers.decode(handle.data, handle.dtype.scalar.name) for handle in (a, b, d))
    wide = np.float64 if d.dtype.scalar == tl.float64 else np.float32
    result = np.matmul(left.astype(wide, copy=False), right.astype(wide, copy=False)) + start
    if is_bfloat16(d):
        return _bfloat16(result)
    return Handle(result.astype(start.dtype, copy=False), d.dtype.scalar)


def _in_float32(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a reduction or scan so that bfloat16 inputs are computed in float32 and the results rounded."""

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
    """Return a tensor of the same shape that holds another handle."""
    element = handle.dtype
    kind = tl.block_type(element, tensor.type.shape) if tensor.type.is_block() else element
    return tl.core.tensor(handle, kind)


def _tree_reduce(self: Any, inputs: Any) -> list[Any]:
    """Reduce by a function of the kernel, halves at a time; Triton's own way, element by element, is slow."""
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
            np.concatenate([np.broadcast_to(part.handle.data, a[:half].shape).astype(a.dtype), a[2 * half :]])
            for part, a in zip(combined, arrays, strict=True)
        ]
    ranks = [inputs[0].handle.data.ndim] * len(arrays)
    return [
        self.to_tensor(_with_dimension(a[0], axis, whole, rank) if self.keep_dims else a[0], kind)
        for a, rank, kind in zip(arrays, ranks, types, strict=True)
    ]


def _with_dimension(reduced: Any, axis: int, whole: bool, rank: int) -> Any:
    """Put back the reduced dimension (every dimension when `whole`), with size 1."""
    return np.reshape(reduced, (1,) * rank) if whole else np.expand_dims(reduced, axis)
