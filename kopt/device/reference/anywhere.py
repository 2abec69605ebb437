"""Run a reference on any device, whatever device its source names.

References are written for a GPU: `.cuda()`, `device="cuda"`, `torch.cuda.is_available()`.  kopt also runs them on meta
tensors, which have no values, and on the CPU.  Under `anywhere` a reference's code finds its tensors on one device.
`Any`: functions of torch take and return anything.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from kopt.device.reference.uncompiled import keep_compiler_out

REFERENCE_MODULE = "kopt_reference"
"""Module name of every reference."""

_CONSTANTS = {torch.tensor, torch.as_tensor, torch.asarray, torch.scalar_tensor, torch.arange, torch.linspace}
"""Functions that make tensors with values known beforehand."""

_HAS_VALUES = 1024
"""Most elements of such a tensor that keeps its values beside meta tensors: `float(t)`, `[v.item() for v in t]`."""

_IS_CUDA = torch.Tensor.is_cuda.__get__  # type: ignore[attr-defined]  # torch types it as a plain value
_DTYPE = torch.Tensor.dtype.__get__  # type: ignore[attr-defined]

_EMPTY = {
    torch.rand: torch.empty,
    torch.randn: torch.empty,
    torch.rand_like: torch.empty_like,
    torch.randn_like: torch.empty_like,
}
"""Functions that make the meta tensors of random ones, but do not import torch's compiler, which takes a second."""

_TO_HALF = {torch.bfloat16: torch.Tensor.bfloat16, torch.float16: torch.Tensor.half}
"""Methods that make numbers of 16 bits."""

_FILL = {torch.Tensor.uniform_, torch.Tensor.normal_}

_wider: ContextVar[torch.dtype | None] = ContextVar("wider", default=None)
_pass: ContextVar[Pass | None] = ContextVar("pass", default=None)


class Pass(NamedTuple):
    """A computation of a reference in another type than its own."""

    computed: torch.dtype
    """Type in which the reference computes."""
    own: torch.dtype | None
    """Type of the problem's inputs; None where they have several."""
    half: torch.dtype | None = None
    """16-bit type for which the computed type stands, and which the reference sees; None where it stands for none."""

    def view(self, value: torch.Tensor, wanted: torch.dtype) -> torch.Tensor:
        """View the bits of numbers as the reference does in its own type, whose width the computed type lacks."""
        if value.is_floating_point() and not wanted.is_floating_point:
            own = self.own if self.own is not None and wanted.itemsize in (self.own.itemsize, 1) else None
            narrow = own or (torch.float32 if wanted.itemsize == torch.float32.itemsize else value.dtype)
            return (value.to(narrow) if value.dtype == self.computed else value).view(wanted)
        made = value.view(wanted)
        numbers = wanted.is_floating_point and wanted.itemsize > 1 and not value.is_floating_point()
        return made.to(self.computed) if numbers else made


class Renamed(TorchFunctionMode):
    """Rewrite devices, and where a wider dtype is wanted float32, in the arguments of torch's functions."""

    def __init__(self, device: torch.device, wider: torch.dtype | None) -> None:
        super().__init__()
        self._device = device
        self._foreign = {"cuda", "cpu"} if device.type == "meta" else {"cuda"} if device.type == "cpu" else set()
        self._wider = wider
        self._pass = _pass.get()
        self._half = self._pass.half if self._pass is not None else None
        self._computed = self._pass.computed if self._pass is not None else None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call a function of torch with its arguments rewritten."""
        viewed = (*args[1:2], *(kwargs or {}).values()) if func is torch.Tensor.view else ()
        if self._pass is not None and len(viewed) == 1 and isinstance(viewed[0], torch.dtype):
            return self._pass.view(args[0], viewed[0])
        if self._half is not None and func == _DTYPE:
            return self._seen(func(*args))
        args = tuple(map(self._rewritten, args))
        kwargs = {name: self._rewritten(value) for name, value in (kwargs or {}).items()}
        if func is torch.Tensor.float and self._wider is not None:
            return args[0].to(self._wider)
        if self._half is not None and func is _TO_HALF.get(self._half):
            return args[0].to(self._computed)
        if self._foreign:
            if func is torch.Tensor.cuda or func is torch.Tensor.pin_memory:
                return args[0]
            if func == _IS_CUDA:
                return True
            if self._device.type == "meta":
                return self._on_meta(func, args, kwargs)
        return func(*args, **kwargs)

    def _on_meta(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        kwargs.pop("generator", None)
        kwargs.pop("pin_memory", None)
        if func is torch.Tensor.cpu or func in _FILL:
            return args[0]
        if func in _CONSTANTS:
            made = func(*args, **kwargs | {"device": "cpu"})
            return made if made.numel() <= _HAS_VALUES else made.to(self._device)
        if any(isinstance(leaf, torch.Tensor) and leaf.is_meta for leaf in tree_leaves((args, kwargs))):
            args, kwargs = tree_map(without_values, (args, kwargs))
        return _EMPTY.get(func, func)(*args, **kwargs)

    def _rewritten(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._device if value.partition(":")[0] in self._foreign else value
        if isinstance(value, torch.device):
            return self._device if value.type in self._foreign else value
        if self._half is not None and value is self._half:
            return self._computed
        return self._wider if value is torch.float32 and self._wider is not None else value

    def _seen(self, dtype: torch.dtype) -> torch.dtype:
        """Return the type that the reference sees, where wider types hold numbers of 16 bits and of float32."""
        return {self._computed: self._half, self._wider: torch.float32}.get(dtype) or dtype


@contextmanager
def anywhere(device: torch.device) -> Iterator[None]:
    """Have a reference's code work on `device` inside the block.

    New tensors are made on the device; on the CPU and on meta tensors the names of other devices mean it too, torch
    claims to have CUDA, and compilers return functions as they are.  What the code prints is dropped, and default
    dtype and device are set back at the end.
    """
    keep_compiler_out()
    wider = _wider.get()
    with ExitStack() as undo:
        undo.enter_context(redirect_stdout(io.StringIO()))
        undo.callback(torch.set_default_dtype, torch.get_default_dtype())
        if wider is not None:
            torch.set_default_dtype(wider)
        if device.type != "cuda":
            for owner, name, value in _answers():
                undo.callback(setattr, owner, name, getattr(owner, name))
                setattr(owner, name, value)
        if device.type != "cuda" or _pass.get() is not None:
            undo.enter_context(Renamed(device, wider))
        undo.enter_context(device)
        yield


@contextmanager
def computing_in(
    dtype: torch.dtype, inputs: object = (), narrow: torch.dtype | None = None, half: torch.dtype | None = None
) -> Iterator[None]:
    """Have references compute in `dtype` inside the block where their source names float32, if `dtype` is wider.

    Where they view numbers as integers of the same width, the numbers are first rounded to the type of the inputs.

    Args:
        dtype: the type.
        inputs: inputs of the reference in their own types.
        narrow: type in which it computes elsewhere; None for `dtype`, too.
        half: 16-bit type for which `narrow` stands; None for none.
    """
    types = {leaf.dtype for leaf in tree_leaves(inputs) if isinstance(leaf, torch.Tensor) and _is_wide(leaf)}
    own = types.pop() if len(types) == 1 else None
    wider = dtype if dtype is torch.float64 else None
    wide, other = (
        _wider.set(wider),
        _pass.set(None if own is dtype and wider is None else Pass(narrow or dtype, own, half)),
    )
    try:
        yield
    finally:
        _wider.reset(wide)
        _pass.reset(other)


def _is_wide(value: torch.Tensor) -> bool:
    """Return whether a tensor holds floating-point numbers of more than 8 bits."""
    return value.is_floating_point() and value.element_size() > 1


def copied_in(value: Any, dtype: torch.dtype) -> Any:
    """Copy a tensor, one of floating-point numbers to `dtype`, so that a model may change it; return other values."""
    if not isinstance(value, torch.Tensor):
        return value
    return value.to(dtype, copy=True) if value.is_floating_point() else value.clone()


def without_values(value: Any) -> Any:
    """Return a tensor as a meta tensor, and any other value as it is."""
    return value.to("meta") if isinstance(value, torch.Tensor) and not value.is_meta else value


def _answers() -> list[tuple[Any, str, Any]]:
    """List what replaces functions of torch, each with the owner of the function and its name."""
    cuda: dict[str, Any] = {
        "is_available": True, "device_count": 1, "current_device": 0, "is_bf16_supported": True,
        "get_device_capability": (9, 0), "get_device_name": "NVIDIA H100", "synchronize": None, "empty_cache": None,
        "set_device": None, "init": None, "manual_seed": None, "manual_seed_all": None,
    }  # fmt: skip
    return [
        *(
            (torch.cuda, name, _for_reference(getattr(torch.cuda, name), _constant(value)))
            for name, value in cuda.items()
        ),
        (torch, "set_default_device", _for_reference(torch.set_default_device, _constant(None))),
        (torch, "compile", _for_reference(torch.compile, _uncompiled)),
        (torch.jit, "script", _for_reference(torch.jit.script, _uncompiled)),
        (torch, "Generator", _OnCpu),
    ]


def _for_reference(function: Callable[..., Any], answer: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that gives `answer` to the reference's code, and is itself to torch's."""

    def chosen(*args: Any, **kwargs: Any) -> Any:
        asks = sys._getframe(1).f_globals.get("__name__")
        return (answer if asks == REFERENCE_MODULE else function)(*args, **kwargs)

    return chosen


def _constant(value: Any) -> Callable[..., Any]:
    return lambda *args, **kwargs: value


class _OnCpu(torch.Generator):
    """A generator of the CPU, whatever device it is asked for."""

    def __new__(cls, device: object = "cpu") -> _OnCpu:
        return super().__new__(cls, device="cpu")  # type: ignore[call-arg]  # torch does not type it


def _uncompiled(function: Any = None, *args: Any, **kwargs: Any) -> Any:
    """Return a function as it is; without one, a decorator that does so."""
    return function if function is not None else lambda decorated: decorated
