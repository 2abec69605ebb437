"""Patch Triton's interpreter: add what it lacks, correct what it gets wrong, refuse what a GPU would not forgive.

- bfloat16 and 8-bit arithmetic, conversions, products and reductions are computed as values and rounded.
- An access outside every tensor that was passed to the launch is an error.
- A load that is masked off without `other` gives NaN.
- An autotuner takes one of its configurations, another one for each call, and measures nothing.
- Launches are counted and recorded, and can be left out; torch called in a kernel counts as the candidate's call.

Importing this module imports Triton, so `TRITON_INTERPRET=1` must be set before.  `install` changes the Triton of this
process for good, on behalf of one session.  It works with Triton 3.6 to 3.9, whose interpreters share these names.
`Any` stands for objects of Triton and its interpreter: Triton ships no types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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

from kopt.device.interpret import loop_range, numbers
from kopt.device.interpret.arithmetic import install_arithmetic
from kopt.device.interpret.memory import install_memory
from kopt.device.interpret.session import Session, Unsupported

Builder = interpreter.InterpreterBuilder
Handle = interpreter.TensorHandle


def install(session: Session) -> None:
    """Patch the interpreter of this process, once: launches, accesses and autotuners read and report to `session`."""
    np.seterr(all="ignore")
    _install_shortcuts()
    _install_language()
    install_arithmetic()
    install_memory(session)
    _install_launches(session)
    loop_range.install()


# --- speed ------------------------------------------------------------------------------------------------------------


def _install_shortcuts() -> None:
    """Leave out what takes most of the time: overflow checks of index arithmetic, and making the same types again."""
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
    """Wrap an `__init__` so that it copies the attributes that it made before for the same key.

    Args:
        original: the `__init__`.
        own: names of the attributes that are not copied.
        key_of: maps the arguments to a key; None for arguments that are always initialised by `original`.
        fill: sets the attributes in `own`.
    """
    attributes: dict[Any, dict[str, Any]] = {}

    def init(self: Any, *args: Any, **named: Any) -> None:
        key = None if named else key_of(*args)
        if key is None or key not in attributes:
            original(self, *args, **named)
            if key is not None:
                attributes[key] = {name: value for name, value in vars(self).items() if name not in own}
        else:
            vars(self).update(attributes[key])
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
    """Wrap the function from a Triton type to its NumPy type so that it remembers results by the type's name."""
    types: dict[str, Any] = {}

    def numpy_type(kind: Any) -> Any:
        if kind.name not in types:
            types[kind.name] = original(kind)
        return types[kind.name]

    return numpy_type


# --- language ---------------------------------------------------------------------------------------------------------


def _install_language() -> None:
    """Patch `triton.language` once instead of at each launch and call, which takes milliseconds."""
    patched = SimpleNamespace(restore=lambda: None)
    interpreter._patch_lang(SimpleNamespace(__globals__={"tl": tl, "core": tl.core}))
    interpreter._patch_lang = lambda function: patched
    tl.tensor.__index__ = lambda self: int(self.handle.data.squeeze())  # Triton 3.6 fails with numpy 2.4 and later
    _install_libdevice()


def _install_libdevice() -> None:
    """Have functions of CUDA's device library computed by NumPy."""
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
    return Handle(
        function(*[argument.data for argument in arguments]).astype(interpreter._get_np_dtype(element)), element
    )


# --- launches ---------------------------------------------------------------------------------------------------------


def _install_launches(session: Session) -> None:
    """Count, record or leave out launches, and mark in each part of a launch whether the candidate's Python runs."""
    run = interpreter.InterpretedFunction.run
    to_host, to_device = interpreter.GridExecutor._init_args_hst, interpreter.GridExecutor._restore_args_dev

    def counted(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        session.launches += not warmup
        if session.ghost or warmup:
            return None
        once = Grid(grid, session)
        session.record_launch(lambda: start(self, args, once, options))
        return start(self, args, once, options)

    def start(self: Any, args: Any, grid: Grid, options: Any) -> Any:
        with session.at("kernel"):
            return run(self, *args, grid=grid, warmup=False, **options)

    def registered(self: Any, positional: Any, named: Any) -> Any:
        with session.at("interpreter"):
            _check_tensors([*positional, *named.values()])
            on_host = to_host(self, positional, named)
            session.ranges = sorted(set(_ranges([*on_host[0], *on_host[1].values()])))
            return on_host

    def restored(self: Any, *args: Any) -> Any:
        with session.at("interpreter"):
            return to_device(self, *args)

    interpreter.InterpretedFunction.run = counted
    interpreter._implicit_cvt = _with_scalars(interpreter._implicit_cvt)
    interpreter.GridExecutor._init_args_hst = registered
    interpreter.GridExecutor._restore_args_dev = restored
    Autotuner.run = lambda self, *args, **options: _run_one_configuration(session.turn, self, args, options)


class Grid:
    """A launch's grid; one that the candidate computes is computed once, as Python of the candidate."""

    def __init__(self, grid: Any, session: Session) -> None:
        self._grid, self._session = grid, session

    def __call__(self, arguments: Any) -> Any:
        """Return the grid of the launch with these arguments."""
        if callable(self._grid):
            with self._session.at("host"):
                self._grid = self._grid(arguments)
        return self._grid


def _check_tensors(values: Iterable[Any]) -> None:
    """Check that arguments which look like tensors are tensors.

    An object of another class could run code of the candidate while the interpreter moves it.

    Raises:
        TypeError: an argument only looks like a tensor.
    """
    for value in values:
        if isinstance(value, tuple | list):
            _check_tensors(value)
        elif isinstance(value, TensorDescriptor | triton.runtime.jit.TensorWrapper):
            _check_tensors([value.base])
        elif hasattr(value, "data_ptr") and type(value) not in (torch.Tensor, torch.nn.Parameter):
            raise TypeError(f"a {type(value).__name__} is passed to a kernel as a tensor: pass a torch.Tensor")


def _with_scalars(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Wrap the conversion of arguments so that a Python float becomes an FP32 scalar, as in a compiled kernel."""

    def converted(argument: Any) -> Any:
        if type(argument) is not float:
            return original(argument)
        return tl.tensor(TensorHandle(np.array([argument], dtype=np.float32), tl.float32), tl.float32)

    return converted


def _ranges(values: Iterable[Any]) -> Iterator[tuple[int, int]]:
    """Yield first address and end of the storage of every tensor among the arguments."""
    for value in values:
        if isinstance(value, tuple | list):
            yield from _ranges(value)
        elif isinstance(value, TensorDescriptor | triton.runtime.jit.TensorWrapper):
            yield from _ranges([value.base])
        elif hasattr(value, "untyped_storage"):
            storage = value.untyped_storage()
            yield storage.data_ptr(), storage.data_ptr() + storage.nbytes()


def _run_one_configuration(turn: int, tuner: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Launch with configuration `turn` (modulo their count), as an autotuner does once it has measured.

    Nothing is reset or restored.
    """
    tuner.nargs = dict(zip(tuner.arg_names, args, strict=False))
    choices = tuner.prune_configs(options)
    chosen = choices[turn % len(choices)]
    tuner.best_config = chosen
    if chosen.pre_hook is not None:
        chosen.pre_hook({**tuner.nargs, **options, **chosen.all_kwargs()})
    return tuner.fn.run(*args, **options, **chosen.all_kwargs())
