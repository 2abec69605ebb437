"""Share device memory between two processes (CUDA IPC): one allocates it, another opens it by its handle.

The memory comes from the driver itself, not from torch's allocator, whose segments hold other tensors too: a handle
opens exactly one block of tensors, the arguments of one draw, or one output.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from operator import add

import torch

from kopt.device.cuda.driver import check, driver
from kopt.device.cuda.storage import flat_bytes
from kopt.device.reference.layout import assign, dtype_name, extent
from kopt.device.reference.placement import GAP, offsets

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
    start: int = 0
    """Bytes of the opened memory that lie before the tensor's."""


@dataclass
class Owned:
    """Shared memory in the process that allocated it, until `free`."""

    tensor: torch.Tensor
    shared: Shared
    _address: int
    """Address of the memory to free; 0 where the memory belongs to another tensor of the same block."""

    def free(self) -> None:
        """Free the memory; the tensor must not be used afterwards."""
        if self._address:
            check(driver().cuMemFree_v2(ctypes.c_uint64(self._address)), "cuMemFree")


@dataclass
class Opened:
    """Shared memory in another process, until `close`."""

    tensor: torch.Tensor
    address: int
    """Address of the opened memory."""

    def close(self) -> None:
        """Unmap the memory; the tensor must not be used afterwards."""
        check(driver().cuIpcCloseMemHandle(ctypes.c_uint64(self.address)), "cuIpcCloseMemHandle")


def share(like: torch.Tensor) -> Owned:
    """Copy a CUDA tensor like `share_all`."""
    return share_all({"": like})[""]


def share_all(tensors: Mapping[str, torch.Tensor]) -> dict[str, Owned]:
    """Copy CUDA tensors, layouts kept, into one block of memory that other processes can open.

    The tensors lie as `kopt.device.reference.placement` says.  Gaps between the elements of a tensor hold zeros, gaps
    between tensors NaN.  The block is freed with its first tensor; torch must have a CUDA context.
    """
    if not tensors:
        return {}
    sizes = [_memory_bytes(tensor) for tensor in tensors.values()]
    places, whole = offsets(sizes)
    address, handle = ctypes.c_uint64(), _Handle()
    check(driver().cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(max(whole, 1))), "cuMemAlloc")
    check(driver().cuIpcGetMemHandle(ctypes.byref(handle), address), "cuIpcGetMemHandle")
    raw = bytes(ctypes.string_at(ctypes.byref(handle), HANDLE_BYTES))
    _fill_gaps(address.value, places, sizes, whole)
    owned: dict[str, Owned] = {}
    for (name, like), place, size in zip(tensors.items(), places, sizes, strict=True):
        shared = Shared(
            raw,
            size,
            tuple(like.shape),
            tuple(like.stride()),
            dtype_name(like.dtype),
            int(like.storage_offset()),
            place,
        )
        tensor = _view(address.value, shared)
        if size != like.numel() * like.element_size():
            flat_bytes(tensor).zero_()
        assign(tensor, like)
        owned[name] = Owned(tensor, shared, 0 if owned else address.value)
    return owned


def private_all(shared: Mapping[str, Shared]) -> dict[str, torch.Tensor]:
    """Make tensors of the same layouts in a block of memory of this process, where they lie as in the shared one."""
    ends = [one.start + one.bytes for one in shared.values()]
    block = torch.empty(max(ends, default=0) + GAP, dtype=torch.uint8, device="cuda")
    _fill_gaps(
        block.data_ptr(), [one.start for one in shared.values()], [one.bytes for one in shared.values()], len(block)
    )
    return {name: _view(block.data_ptr(), one, block) for name, one in shared.items()}


def _memory_bytes(tensor: torch.Tensor) -> int:
    """Return the size of the memory that a tensor reaches, from the start of its storage."""
    return max(int(tensor.storage_offset()) + extent(tensor.shape, tensor.stride()), 1) * tensor.element_size()


def _fill_gaps(address: int, places: Sequence[int], sizes: Sequence[int], whole: int) -> None:
    """Fill what lies between the tensors of a block with NaN, so that reads beyond a tensor's end are seen."""
    for start, end in zip(map(add, places, sizes), [*places[1:], whole], strict=bool(places)):
        torch.as_tensor(_Memory(address + start, end - start), device="cuda").fill_(0xFF)


def open_shared(shared: Shared) -> Opened:
    """Open the tensor behind a handle; writes go to the owner's memory.

    Raises:
        DeviceError: the handle cannot be opened: its owner has ended, or is this process.
    """
    handle, address = _Handle.from_buffer_copy(shared.handle), ctypes.c_uint64()
    flags = ctypes.c_uint(_LAZY_PEER_ACCESS)
    check(driver().cuIpcOpenMemHandle_v2(ctypes.byref(address), handle, flags), "cuIpcOpenMemHandle")
    return Opened(_view(address.value, shared), address.value)


def copy_into(copies: Sequence[tuple[Shared, torch.Tensor]]) -> None:
    """Copy tensors into shared memory of another process, each into a block of its own, and wait until all are there.

    Raises:
        DeviceError: as for `open_shared`.
    """
    with ExitStack() as stack:
        for shared, tensor in copies:
            opened = stack.enter_context(all_opened({"": shared}))
            opened[""].copy_(tensor)


def copies_of(blocks: Sequence[Mapping[str, Shared]]) -> list[dict[str, torch.Tensor]]:
    """Copy blocks of shared memory of another process into memory of this one, with one wait for all of them.

    Raises:
        DeviceError: as for `open_shared`.
    """
    copies = [private_all(block) for block in blocks]
    with ExitStack() as stack:
        for block, copy in zip(blocks, copies, strict=True):
            opened = stack.enter_context(all_opened(block))
            for name, tensor in opened.items():
                assign(copy[name], tensor)
    return copies


@contextmanager
def all_opened(shared: Mapping[str, Shared]) -> Iterator[dict[str, torch.Tensor]]:
    """Open the tensors of one block inside the block of code; they must not be used afterwards.

    Raises:
        DeviceError: as for `open_shared`.
    """
    tensors: dict[str, torch.Tensor] = {}
    if not shared:
        yield tensors
        return
    block = open_shared(next(iter(shared.values())))
    try:
        tensors |= {name: _view(block.address, one) for name, one in shared.items()}
        yield tensors
        torch.cuda.synchronize()
    finally:
        tensors.clear()
        block.tensor = torch.empty(0)
        block.close()


class _Memory:
    """Device memory in the form of CUDA's array interface, which torch reads."""

    def __init__(self, address: int, count: int, owner: object = None) -> None:
        self._owner = owner  # lives as long as this object, which torch keeps
        self.__cuda_array_interface__ = {"shape": (count,), "typestr": "|u1", "data": (address, False), "version": 3}


def _view(address: int, shared: Shared, owner: object = None) -> torch.Tensor:
    """Return the tensor in a block of memory at this address; `owner` lives as long as the tensor."""
    dtype = getattr(torch, shared.dtype)
    flat = torch.as_tensor(_Memory(address + shared.start, shared.bytes, owner), device="cuda").view(dtype)
    return flat.as_strided(shared.shape, shared.stride, shared.offset)
