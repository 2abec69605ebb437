"""Triton's interpreter made strict and true to a GPU: what it lacks, gets wrong or lets pass.

- bfloat16 and 8-bit arithmetic, conversions, products and reductions are computed as values and rounded.
- An access outside every tensor that was passed to the launch is an error; so is nothing else that a GPU would forgive.
- A load that is masked off without `other` gives NaN.
- An autotuner takes one of its configurations, another one each time, and measures nothing.
- Launches are counted, recorded, and can be left out; torch in a kernel is the candidate's, not the interpreter's.

Importing this module imports Triton, so `TRITON_INTERPRET=1` must be set before.  `install` changes the Triton of this
process for good.  It works with Triton 3.6 to 3.9, whose interpreters share these names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from triton.runtime import interpreter
from triton.runtime.autotuner import Autotuner
from triton.runtime.interpreter import TensorHandle
from triton.tools.tensor_descriptor import TensorDescriptor

from kopt.device.interpret import loop_range as interpret_range
from kopt.device.interpret import numbers
from kopt.device.interpret.arithmetic import install_arithmetic
from kopt.device.interpret.memory import install_memory
from kopt.device.interpret.session import SESSION, Unsupported

Builder = interpreter.InterpreterBuilder
Handle = interpreter.TensorHandle


@cache
def install() -> None:
    """Change the interpreter of this process; once is enough."""
    np.seterr(all="ignore")
    _install_shortcuts()
    _install_language()
    install_arithmetic()
    install_memory()
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
        raise Unsupported(f"the interpreter does not know the device library's {symbol}")
    element = result.scalar
    return Handle(function(*[one.data for one in arguments]).astype(interpreter._get_np_dtype(element)), element)


# --- launches ---------------------------------------------------------------------------------------------------------


def _install_launches() -> None:
    run = interpreter.InterpretedFunction.run
    to_host, to_device = interpreter.GridExecutor._init_args_hst, interpreter.GridExecutor._restore_args_dev

    def counted(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        SESSION.launches += not warmup
        if SESSION.ghost or warmup:
            return None
        again = Grid(grid)
        if SESSION.record is not None:
            SESSION.record.launched(lambda: start(self, args, again, options))
        return start(self, args, again, options)

    def start(self: Any, args: Any, grid: Grid, options: Any) -> Any:
        with SESSION.at("kernel"):
            return run(self, *args, grid=grid, warmup=False, **options)

    def registered(self: Any, positional: Any, named: Any) -> Any:
        with SESSION.at("interpreter"):
            given = [*positional, *named.values()]
            _check_tensors(given)
            on_host = to_host(self, positional, named)
            SESSION.ranges = sorted(set(_ranges([*on_host[0], *on_host[1].values()])))
            return on_host

    def restored(self: Any, *args: Any) -> Any:
        with SESSION.at("interpreter"):
            return to_device(self, *args)

    interpreter.InterpretedFunction.run = counted
    interpreter._implicit_cvt = _with_scalars(interpreter._implicit_cvt)
    interpreter.GridExecutor._init_args_hst = registered
    interpreter.GridExecutor._restore_args_dev = restored
    Autotuner.run = _run_one_configuration


class Grid:
    """A launch's grid; where the candidate computes it, that is done once, as its own Python."""

    def __init__(self, grid: Any) -> None:
        self._grid = grid

    def __call__(self, arguments: Any) -> Any:
        """The grid, for the launch with these arguments."""
        if callable(self._grid):
            with SESSION.at("host"):
                self._grid = self._grid(arguments)
        return self._grid


def _check_tensors(values: Iterable[Any]) -> None:
    """Arguments that look like tensors are: what another class does when it is moved would be taken for ours."""
    for value in values:
        if isinstance(value, tuple | list):
            _check_tensors(value)
        elif isinstance(value, TensorDescriptor | triton.runtime.jit.TensorWrapper):
            _check_tensors([value.base])
        elif hasattr(value, "data_ptr") and type(value) not in (torch.Tensor, torch.nn.Parameter):
            raise TypeError(f"a {type(value).__name__} is passed to a kernel as a tensor: pass a torch.Tensor")


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
