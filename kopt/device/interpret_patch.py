"""Triton's interpreter made strict and true to a GPU: what it lacks, gets wrong or lets pass.

- bfloat16 and 8-bit arithmetic, conversions, products and reductions are computed as values and rounded.
- An access outside every tensor that was passed to the launch is an error; so is nothing else that a GPU would forgive.
- A load that is masked off without `other` gives NaN.
- An autotuner takes one of its configurations, another one each time, and measures nothing.
- Launches are counted, and can be left out.

Importing this module imports Triton, so `TRITON_INTERPRET=1` must be set before.  `install` changes the Triton of this
process for good.  It works with Triton 3.6 to 3.9, whose interpreters share these names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import triton
import triton.language as tl
from triton._C.libtriton import ir
from triton.runtime import interpreter
from triton.runtime.autotuner import Autotuner
from triton.runtime.interpreter import TensorHandle
from triton.tools.tensor_descriptor import TensorDescriptor

from kopt.device import interpret_numbers as numbers
from kopt.device import interpret_range

Builder = interpreter.InterpreterBuilder
Handle = interpreter.TensorHandle


class OutOfBounds(Exception):
    """A kernel reads or writes outside the tensors that were passed to it."""


@dataclass
class Session:
    """What the interpreter is to do in this process, and what it has done."""

    ghost: bool = False
    """Leave launches out."""
    turn: int = 0
    """Which of its configurations an autotuner takes, counted round."""
    launches: int = 0
    """Launches so far, those left out included."""
    launching: bool = False
    """A launch is being interpreted: what torch does now is the interpreter's."""
    ranges: list[tuple[int, int]] = field(default_factory=list)
    """First address and end of every tensor of the present launch."""


SESSION = Session()


@cache
def install() -> None:
    """Change the interpreter of this process; once is enough."""
    np.seterr(all="ignore")
    _install_shortcuts()
    _install_language()
    _install_numbers()
    _install_memory()
    _install_launches()
    interpret_range.install()


# --- speed ------------------------------------------------------------------------------------------------------------


def _install_shortcuts() -> None:
    """Leave out what takes most of the time: overflow checks of index arithmetic, and types made anew."""
    interpreter.interpreter_builder.options = interpreter.InterpreterOptions(sanitize_overflow=False)
    tl.core.tensor.__init__ = _remembered(tl.core.tensor.__init__, ("handle", "type", "dtype"), _tensor_shape, _tensor)
    tl.block_type.__init__ = _remembered(tl.block_type.__init__, ("element_ty",), _block_key, _block)
    interpreter._get_np_dtype = _numpy_types(interpreter._get_np_dtype)


def _remembered(
    original: Callable[..., None],
    own: tuple[str, ...],
    key_of: Callable[..., Any],
    fill: Callable[..., None],
) -> Callable[..., None]:
    """An `__init__` that copies what it made before for the same key; attributes in `own` are filled anew."""
    known: dict[Any, dict[str, Any]] = {}

    def init(self: Any, *args: Any, **named: Any) -> None:
        key = None if named else key_of(*args)
        if key is None or key not in known:
            original(self, *args, **named)
            if key is not None:
                known[key] = {name: value for name, value in vars(self).items() if name not in own}
        else:
            vars(self).update(known[key])
            fill(self, *args)

    return init


def _tensor_shape(handle: Any, kind: Any) -> Any:
    return tuple(kind.shape) if kind.is_block() else ()


def _tensor(self: Any, handle: Any, kind: Any) -> None:
    self.handle, self.type, self.dtype = handle, kind, kind.scalar


def _block_key(element: Any, shape: Any) -> Any:
    sizes = tuple(shape)
    return (element.name, sizes) if all(type(size) is int for size in sizes) else None


def _block(self: Any, element: Any, shape: Any) -> None:
    self.element_ty = element


def _numpy_types(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    known: dict[str, Any] = {}

    def numpy_type(kind: Any) -> Any:
        found = known.get(kind.name)
        if found is None:
            found = known[kind.name] = original(kind)
        return found

    return numpy_type


# --- language ---------------------------------------------------------------------------------------------------------


def _install_language() -> None:
    """Patch `triton.language` once instead of at each launch and call, which takes milliseconds."""
    original = interpreter._patch_lang
    kept = SimpleNamespace(restore=lambda: None)
    original(SimpleNamespace(__globals__={"tl": tl, "core": tl.core}))
    interpreter._patch_lang = lambda function: kept
    tl.tensor.__index__ = lambda self: int(self.handle.data.squeeze())  # Triton 3.6 fails with numpy 2.4 and later
    _install_libdevice()


def _install_libdevice() -> None:
    from triton.language.extra import libdevice
    from triton.language.extra.cuda import libdevice as cuda_libdevice

    def interpreted(member: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, _semantic=None: member(*args, _semantic=interpreter.interpreter_semantic)

    for name, member in list(vars(cuda_libdevice).items()):
        if tl.core.is_builtin(member):
            setattr(cuda_libdevice, name, interpreted(member))
            setattr(libdevice, name, getattr(cuda_libdevice, name))
    Builder.create_extern_elementwise = _extern_elementwise


def _extern_elementwise(
    self: Any, library: str, path: str, symbol: str, arguments: list[Any], result: Any, pure: bool
) -> Any:
    function = numbers.libdevice(symbol)
    if function is None:
        raise NotImplementedError(f"the interpreter does not know the device library's {symbol}")
    element = result.scalar
    return Handle(function(*[one.data for one in arguments]).astype(interpreter._get_np_dtype(element)), element)


# --- numbers ----------------------------------------------------------------------------------------------------------


def _is_bfloat16(handle: Any) -> bool:
    return bool(handle.dtype.scalar == tl.bfloat16)


def _widened(handle: Any) -> Any:
    return numbers.decode(handle.data, "bf16")


def _bfloat16(values: Any) -> Any:
    """A handle of bfloat16 with these values rounded."""
    return Handle(numbers.encode(values, "bf16"), tl.bfloat16)


def _install_numbers() -> None:
    _install_conversions()
    for name in ("binary_op", "unary_op"):
        setattr(Builder, name, _in_bfloat16(getattr(Builder, name)))
    fma, clamp = Builder.create_fma, Builder.create_clampf
    Builder.create_fma = _with_bfloat16(fma, lambda x, y, z: x * y + z)
    Builder.create_clampf = _with_bfloat16(clamp, np.clip)
    Builder.get_bf16 = lambda self, value: _bfloat16(np.array([value], dtype=np.float32))
    Builder.create_erf = lambda self, handle: Handle(numbers.erf(handle.data), handle.dtype.scalar)
    Builder.create_dot = _dot
    interpreter.ReduceOps.apply_impl = _reduced_wide(interpreter.ReduceOps.apply_impl)
    interpreter.ReduceOps.generic_reduce = _tree_reduce
    interpreter.ScanOps.apply_impl = _reduced_wide(interpreter.ScanOps.apply_impl)


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
        if function in bitwise or not all(map(_is_bfloat16, handles)):
            return original(self, *handles, function)
        result = function(*map(_widened, handles))
        return Handle(result, tl.bfloat16) if result.dtype == np.bool_ else _bfloat16(result)

    return operation


def _with_bfloat16(original: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    def operation(self: Any, x: Any, y: Any, z: Any, *rest: Any) -> Any:
        if not _is_bfloat16(z):
            return original(self, x, y, z, *rest)
        return _bfloat16(function(*map(_widened, (x, y, z))))

    return operation


def _dot(self: Any, a: Any, b: Any, d: Any, *options: Any) -> Any:
    if not a.dtype.scalar.is_floating():
        return Handle(np.matmul(a.data, b.data, dtype=d.data.dtype) + d.data, d.dtype.scalar)
    left, right, start = (numbers.decode(one.data, one.dtype.scalar.name) for one in (a, b, d))
    wide = np.float64 if d.dtype.scalar == tl.float64 else np.float32
    result = np.matmul(left.astype(wide, copy=False), right.astype(wide, copy=False)) + start
    if _is_bfloat16(d):
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


# --- memory -----------------------------------------------------------------------------------------------------------


def _install_memory() -> None:
    load, store = Builder.create_masked_load, Builder.create_masked_store
    swap, modify = Builder.create_atomic_cas, Builder.create_atomic_rmw

    def strict_load(self: Any, pointers: Any, mask: Any, other: Any, *options: Any, **named: Any) -> Any:
        _check_bounds(self, "load", pointers, np.asarray(mask.data))
        if other is None and not np.asarray(mask.data).all():
            element = pointers.get_element_ty()
            values = numbers.poison(pointers.data.shape, interpreter._get_np_dtype(element), element.name)
            other = Handle(values, element)
        return load(self, pointers, mask, other, *options, **named)

    def strict_store(self: Any, pointers: Any, value: Any, mask: Any, *options: Any, **named: Any) -> Any:
        _check_bounds(self, "store", pointers, np.asarray(mask.data))
        return store(self, pointers, value, mask, *options, **named)

    def strict_swap(self: Any, pointers: Any, *rest: Any) -> Any:
        _check_bounds(self, "atomic", pointers, np.ones_like(pointers.data, dtype=bool))
        return swap(self, pointers, *rest)

    def strict_modify(self: Any, operation: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        _check_bounds(self, "atomic", pointers, mask.data)
        if _is_bfloat16(value):
            raise NotImplementedError("the interpreter has no atomic operations on bfloat16")
        return modify(self, operation, pointers, value, mask, *rest)

    Builder.create_masked_load, Builder.create_masked_store = strict_load, strict_store
    Builder.create_atomic_cas, Builder.create_atomic_rmw = strict_swap, strict_modify


def _check_bounds(builder: Any, what: str, pointers: Any, mask: Any) -> None:
    addresses = pointers.data if mask.all() else pointers.data[np.broadcast_to(mask, pointers.data.shape)]
    if not addresses.size:
        return
    width = max(1, pointers.get_element_ty().primitive_bitwidth // 8)
    low, high = int(addresses.min()), int(addresses.max()) + width
    if any(start <= low and high <= end for start, end in SESSION.ranges):
        return
    inside = np.zeros(addresses.shape, dtype=bool)
    for start, end in SESSION.ranges:
        inside |= (addresses >= start) & (addresses + np.uint64(width) <= end)
    if not inside.all():
        raise OutOfBounds(
            f"{int((~inside).sum())} of {addresses.size} addresses of a {what} lie outside every tensor that the "
            f"kernel was given (program {builder.grid_idx}): a mask or a bound is missing"
        )


# --- launches ---------------------------------------------------------------------------------------------------------


def _install_launches() -> None:
    run = interpreter.InterpretedFunction.run
    arguments = interpreter.GridExecutor._init_args_hst

    def counted(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        SESSION.launches += not warmup
        if SESSION.ghost:
            return None
        outermost, SESSION.launching = not SESSION.launching, True
        try:
            return run(self, *args, grid=grid, warmup=warmup, **options)
        finally:
            SESSION.launching = not outermost

    def registered(self: Any, positional: Any, named: Any) -> Any:
        on_host = arguments(self, positional, named)
        SESSION.ranges = sorted(set(_ranges([*on_host[0], *on_host[1].values()])))
        return on_host

    interpreter.InterpretedFunction.run = counted
    interpreter._implicit_cvt = _with_scalars(interpreter._implicit_cvt)
    interpreter.GridExecutor._init_args_hst = registered
    Autotuner.run = _run_one_configuration


def _with_scalars(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A number with a point is a scalar of FP32 in a compiled kernel; the interpreter leaves it a Python one."""

    def converted(argument: Any) -> Any:
        if type(argument) is not float:
            return original(argument)
        return tl.tensor(TensorHandle(np.array([argument], dtype=np.float32), tl.float32), tl.float32)

    return converted


def _ranges(values: Iterable[Any]) -> Iterator[tuple[int, int]]:
    for value in values:
        if isinstance(value, tuple | list):
            yield from _ranges(value)
        elif isinstance(value, TensorDescriptor | triton.runtime.jit.TensorWrapper):
            yield from _ranges([value.base])
        elif hasattr(value, "untyped_storage"):
            storage = value.untyped_storage()
            yield storage.data_ptr(), storage.data_ptr() + storage.nbytes()


def _run_one_configuration(self: Any, *args: Any, **options: Any) -> Any:
    """Launch with one configuration, as an autotuner does once it has measured; nothing is reset or restored."""
    self.nargs = dict(zip(self.arg_names, args, strict=False))
    choices = self.prune_configs(options)
    chosen = choices[SESSION.turn % len(choices)]
    self.best_config = chosen
    if chosen.pre_hook is not None:
        chosen.pre_hook({**self.nargs, **options, **chosen.all_kwargs()})
    return self.fn.run(*args, **options, **chosen.all_kwargs())
