"""Share device memory between two processes (CUDA IPC): one allocates it, another opens it by its handle.

The memory comes from the driver itself, not from torch's allocator, whose segments hold other tensors too: a handle
opens exactly one tensor.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache

import torch

from kopt.device.reference.layout import assign, dtype_name, extent
from kopt.errors import DeviceError

HANDLE_BYTES = 64
_LAZY_PEER_ACCESS = 1


class _Handle(ctypes.Structure):
    _fields_ = (("reserved", ctypes.c_char * HANDLE_BYTES),)


@dataclass(frozen=True)
class Shared:
    """A tensor in shared memory, as it travels between processes."""

    handle: bytes
    bytes: int
    """Size of the memory, bytes."""
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    """Elements."""
    dtype: str
    """E.g. `bfloat16`."""
    offset: int = 0
    """Elements before the first one."""


@dataclass
class Owned:
    """Shared memory in the process that allocated it, until `free`."""

    tensor: torch.Tensor
    shared: Shared
    _address: int

    def free(self) -> None:
        """Free the memory; the tensor must not be used afterwards."""
        check(driver().cuMemFree_v2(ctypes.c_uint64(self._address)), "cuMemFree")


@dataclass
class Opened:
    """Shared memory in another process, until `close`."""

    tensor: torch.Tensor
    _address: int

    def close(self) -> None:
        """Unmap the memory; the tensor must not be used afterwards."""
        check(driver().cuIpcCloseMemHandle(ctypes.c_uint64(self._address)), "cuIpcCloseMemHandle")


@cache
def driver() -> ctypes.CDLL:
    """Load the CUDA driver's library.

    Raises:
        DeviceError: there is no CUDA driver.
    """
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise DeviceError("no CUDA driver: libcuda.so.1 cannot be loaded") from error


def check(status: int, what: str) -> None:
    """Check the status of a call of the driver.

    Args:
        status: that the call returned.
        what: name of the call.

    Raises:
        DeviceError: the status is not success.
    """
    if status:
        name = ctypes.c_char_p()
        driver().cuGetErrorName(status, ctypes.byref(name))
        raise DeviceError(f"{what}: {(name.value or b'unknown error').decode()} ({status})")


def share(like: torch.Tensor) -> Owned:
    """Copy a CUDA tensor, layout kept, into memory that other processes can open; torch must have a CUDA context.

    Gaps between the elements hold zeros.
    """
    offset = int(like.storage_offset())
    count = max(offset + extent(like.shape, like.stride()), 1) * like.element_size()
    address, handle = ctypes.c_uint64(), _Handle()
    check(driver().cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(count)), "cuMemAlloc")
    check(driver().cuIpcGetMemHandle(ctypes.byref(handle), address), "cuIpcGetMemHandle")
    raw = bytes(ctypes.string_at(ctypes.byref(handle), HANDLE_BYTES))
    shared = Shared(raw, count, tuple(like.shape), tuple(like.stride()), dtype_name(like.dtype), offset)
    tensor = _view(address.value, shared)
    if count != like.numel() * like.element_size():
        flat_bytes(tensor).zero_()
    assign(tensor, like)
    return Owned(tensor, shared, address.value)


def private(shared: Shared) -> torch.Tensor:
    """Make a tensor of the same layout in memory of this process."""
    flat = torch.empty(shared.bytes, dtype=torch.uint8, device="cuda").view(getattr(torch, shared.dtype))
    return flat.as_strided(shared.shape, shared.stride, shared.offset)


def flat_bytes(tensor: torch.Tensor) -> torch.Tensor:
    """View the whole storage of a tensor as bytes."""
    return torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(tensor.untyped_storage())


def open_shared(shared: Shared) -> Opened:
    """Open the tensor behind a handle; writes go to the owner's memory.

    Raises:
        DeviceError: the handle cannot be opened: its owner has ended, or is this process.
    """
    handle, address = _Handle.from_buffer_copy(shared.handle), ctypes.c_uint64()
    flags = ctypes.c_uint(_LAZY_PEER_ACCESS)
    check(driver().cuIpcOpenMemHandle_v2(ctypes.byref(address), handle, flags), "cuIpcOpenMemHandle")
    return Opened(_view(address.value, shared), address.value)


def leave() -> None:
    """Destroy this process's CUDA context, even a broken one.

    Otherwise the parent, which waits for this process, would wait for the driver to clean up.
    """
    driver().cuDevicePrimaryCtxReset_v2(ctypes.c_int(0))


class _Memory:
    """Device memory in the form of CUDA's array interface, which torch reads."""

    def __init__(self, address: int, count: int) -> None:
        self.__cuda_array_interface__ = {"shape": (count,), "typestr": "|u1", "data": (address, False), "version": 3}


def _view(address: int, shared: Shared) -> torch.Tensor:
    dtype = getattr(torch, shared.dtype)
    flat = torch.as_tensor(_Memory(address, shared.bytes), device="cuda").view(dtype)
    return flat.as_strided(shared.shape, shared.stride, shared.offset)
