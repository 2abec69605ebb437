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
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from kopt.device.reference.elsewhere.autocast import autocast_as_on_gpu
from kopt.device.reference.elsewhere.uncompiled import keep_compiler_out
from kopt.device.reference.other_type import Pass, current_pass

REFERENCE_MODULE = "kopt_reference"
"""Module name of every reference."""

_CONSTANTS = {torch.tensor, torch.as_tensor, torch.asarray, torch.scalar_tensor, torch.arange, torch.linspace}
"""Functions that make tensors with values known beforehand."""

_HAS_VALUES = 1024
"""Most elements of such a tensor that keeps its values beside meta tensors: `float(t)`, `[v.item() for v in t]`."""

_IS_CUDA = torch.Tensor.is_cuda.__get__  # type: ignore[attr-defined]  # torch types it as a plain value

_EMPTY = {
    torch.rand: torch.empty,
    torch.randn: torch.empty,
    torch.rand_like: torch.empty_like,
    torch.randn_like: torch.empty_like,
}
"""Functions that make the meta tensors of random ones, but do not import torch's compiler, which takes a second."""

_FILL = {torch.Tensor.uniform_, torch.Tensor.normal_}


class Renamed(TorchFunctionMode):
    """Rewrite devices, and the types of a pass in another type, in the arguments of torch's functions."""

    def __init__(self, device: torch.device, other: Pass | None) -> None:
        super().__init__()
        self._device = device
        self._foreign = {"cuda", "cpu"} if device.type == "meta" else {"cuda"} if device.type == "cpu" else set()
        self._pass = other

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call a function of torch with its arguments rewritten."""
        args = tuple(map(self._placed, args))
        kwargs = {name: self._placed(value) for name, value in (kwargs or {}).items()}
        return self._run(func, args, kwargs) if self._pass is None else self._pass.call(self._run, func, args, kwargs)

    def _run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
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

    def _placed(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._device if value.partition(":")[0] in self._foreign else value
        if isinstance(value, torch.device):
            return self._device if value.type in self._foreign else value
        return value


@contextmanager
def anywhere(device: torch.device) -> Iterator[None]:
    """Have a reference's code work on `device` inside the block.

    New tensors are made on the device; on the CPU and on meta tensors the names of other devices mean it too, torch
    claims to have CUDA, and compilers return functions as they are.  What the code prints is dropped, and default
    dtype and device are set back at the end.
    """
    keep_compiler_out()
    other = current_pass()
    with ExitStack() as undo:
        undo.enter_context(redirect_stdout(io.StringIO()))
        undo.callback(torch.set_default_dtype, torch.get_default_dtype())
        if other is not None and other.wider is not None:
            torch.set_default_dtype(other.wider)
        if device.type != "cuda":
            for owner, name, value in _answers():
                undo.callback(setattr, owner, name, getattr(owner, name))
                setattr(owner, name, value)
        if device.type != "cuda" or other is not None:
            undo.enter_context(autocast_as_on_gpu(device))
            undo.enter_context(Renamed(device, other))
        undo.enter_context(device)
        yield


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
