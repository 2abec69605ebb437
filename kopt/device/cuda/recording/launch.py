"""Launch a compiled Triton kernel through the driver.

Triton 3.6 compiles a C module per argument signature for its launcher, which takes half a second each in a fresh
cache.  Kernels that take pointers and numbers only, almost all kernels, are launched here through ctypes; others by
Triton's own launcher.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any  # ctypes and Triton

from kopt.device.cuda.driver import driver
from kopt.errors import DeviceError

NOT_ARGUMENTS = 4
"""Number of values that Triton passes between function and arguments: packed metadata, launch metadata, two hooks."""

_COOPERATIVE, _CLUSTER_DIMENSION, _CLUSTER_SCHEDULING, _PROGRAMMATIC = 2, 4, 5, 6
_SPREAD = 1
_NON_PORTABLE_CLUSTER = 14
_PORTABLE_CLUSTER_LIMIT = 8

_NUMBERS: dict[str, Any] = {
    "i1": ctypes.c_int8, "i8": ctypes.c_int8, "i16": ctypes.c_int16, "i32": ctypes.c_int32, "i64": ctypes.c_int64,
    "u1": ctypes.c_uint8, "u8": ctypes.c_uint8, "u16": ctypes.c_uint16, "u32": ctypes.c_uint32,
    "u64": ctypes.c_uint64, "fp32": ctypes.c_float, "f32": ctypes.c_float, "fp64": ctypes.c_double,
}  # fmt: skip


class LaunchFailed(DeviceError):
    """The driver refused a launch."""


class _Value(ctypes.Union):
    _fields_ = (("pad", ctypes.c_char * 64), ("number", ctypes.c_int), ("dimensions", ctypes.c_uint * 3))


class _Attribute(ctypes.Structure):
    _fields_ = (("id", ctypes.c_int), ("pad", ctypes.c_char * 4), ("value", _Value))


class _Config(ctypes.Structure):
    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared", ctypes.c_uint),
        ("stream", ctypes.c_void_p),
        ("attributes", ctypes.POINTER(_Attribute)),
        ("count", ctypes.c_uint),
    )


def is_plain(signature: Sequence[Any]) -> bool:
    """Return whether only pointers, numbers and compile-time values are passed."""
    return all(
        isinstance(kind, str) and (kind in _NUMBERS or kind[0] == "*" or kind == "constexpr") for kind in signature
    )


def make_launcher(signature: Sequence[Any], metadata: Any, fallback: Callable[[Any, Any], Any]) -> Callable[..., None]:
    """Make a function `(x, y, z, stream, function, packed, launch_metadata, enter, exit, *arguments)` that launches.

    Args:
        signature: Triton's types of all arguments, in order.
        metadata: Triton's metadata of the compiled kernel.
        fallback: Triton's own launcher class.
    """
    if is_plain(signature) and not metadata.global_scratch_size and not metadata.profile_scratch_size:
        return _Plain(signature, metadata)
    named = {f"argument{place}": kind for place, kind in enumerate(signature)}
    launcher: Callable[..., None] = fallback(SimpleNamespace(signature=named, constants={}), metadata)
    return launcher


class _Plain:
    """Launch a kernel whose arguments are pointers and numbers."""

    def __init__(self, signature: Sequence[str], metadata: Any) -> None:
        self._kinds = [_c_type(kind) for kind in signature]
        self._block = 32 * metadata.num_warps
        self._clusters = getattr(metadata, "num_ctas", 1)
        self._shared = metadata.shared
        self._attributes = _attributes(metadata, self._clusters)
        self._launch = driver().cuLaunchKernelEx

    def __call__(self, x: int, y: int, z: int, stream: int, function: int, *rest: Any) -> None:
        """Launch, called as Triton calls its launchers; `rest` is `NOT_ARGUMENTS` values, then the arguments."""
        if x * y * z <= 0:
            return
        values = [
            kind(_address(value) if kind is ctypes.c_uint64 else value)
            for kind, value in zip(self._kinds, rest[NOT_ARGUMENTS:], strict=True)
            if kind is not None
        ]
        values += [ctypes.c_uint64(0), ctypes.c_uint64(0)]  # the two scratch memories, which this kernel does not use
        pointers = (ctypes.c_void_p * len(values))(*[ctypes.addressof(value) for value in values])
        config = _Config(
            grid=(x * self._clusters, y, z), block=(self._block, 1, 1), shared=self._shared, stream=stream,
            attributes=self._attributes, count=len(self._attributes),
        )  # fmt: skip
        if self._clusters > _PORTABLE_CLUSTER_LIMIT:
            driver().cuFuncSetAttribute(ctypes.c_void_p(function), _NON_PORTABLE_CLUSTER, 1)
        status = self._launch(ctypes.byref(config), ctypes.c_void_p(function), pointers, None)
        if status:
            raise LaunchFailed(f"the launch failed with CUDA error {status}")


def _c_type(kind: str) -> Any:
    """Return the C type of an argument; None for a compile-time value."""
    if kind == "constexpr":
        return None
    return ctypes.c_uint64 if kind[0] == "*" else _NUMBERS[kind]


def _address(value: Any) -> int:
    if value is None:
        return 0
    return value if isinstance(value, int) else int(value.data_ptr())


def _attributes(metadata: Any, clusters: int) -> Any:
    """Make the array of launch attributes that the driver reads."""
    listed = []
    if getattr(metadata, "launch_pdl", False):
        listed.append(_Attribute(id=_PROGRAMMATIC, value=_Value(number=1)))
    if getattr(metadata, "launch_cooperative_grid", False):
        listed.append(_Attribute(id=_COOPERATIVE, value=_Value(number=1)))
    if clusters != 1:
        size = (ctypes.c_uint * 3)(clusters, 1, 1)
        listed.append(_Attribute(id=_CLUSTER_DIMENSION, value=_Value(dimensions=size)))
        listed.append(_Attribute(id=_CLUSTER_SCHEDULING, value=_Value(number=_SPREAD)))
    return (_Attribute * len(listed))(*listed)
