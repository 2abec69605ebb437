"""Pretend that there is a GPU: answer from a device description what torch and Triton ask of a device.

Under `pretend` tensors "on cuda" can be made inside a `FakeTensorMode`, also by a torch built without CUDA, and Triton
compiles for the described device.  Nothing runs.  Call it in a process of its own: torch stays changed until the block
ends, and a CUDA context must not exist.  `Any`: replaced functions of torch and Triton take and return anything.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import torch
import triton
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensor
from triton.backends.compiler import GPUTarget
from triton.backends.driver import DriverBase

from kopt.device.build.cubin import resources
from kopt.device.build.host_data import HostData
from kopt.model.device import Device

CUDA = torch.device("cuda", 0)

_CUDA_GUARD, _META_GUARD = 1, 14
"""Positions of c10::DeviceType in its registry of device guards."""

_APART, _FIRST = 1 << 42, 0x5A5A5A000
"""Distance of made-up addresses, and an offset that no round number has, bytes."""

NAMED_AFTER_USE = {
    "compile": "torch.compile",
    "cuda.CUDAGraph": "a CUDA graph",
    "cuda.graph": "a CUDA graph",
    "cuda.make_graphed_callables": "a CUDA graph",
    "cuda.Stream": "a stream of its own",
    "cuda.ExternalStream": "a stream of its own",
    "cuda.stream": "a stream of its own",
    "cuda.set_stream": "a stream of its own",
    "cuda.Event": "an event",
}
"""Parts of torch that a candidate may not use, and the words for each in a rejection."""


class StubDriver(DriverBase):  # type: ignore[misc]  # Triton ships no types
    """A driver of Triton for a device that is only described; the method names are Triton's."""

    def __init__(self, device: Device) -> None:
        super().__init__()
        self._device = device
        self.utils = SimpleNamespace(
            get_device_properties=lambda _=0: {
                "max_shared_mem": device.shared_bytes_per_block,
                "max_num_regs": device.registers_per_sm,
                "multiprocessor_count": device.sm_count,
                "warpSize": device.warp_size,
                "sm_clock_rate": device.sm_clock_mhz * 1000,
                "mem_clock_rate": 0,
                "mem_bus_width": 0,
            },
            load_binary=_loaded,
            set_printf_fifo_size=lambda _: None,
        )
        self.launcher_cls = lambda *_: _nothing_runs

    @classmethod
    def is_active(cls) -> bool:
        """Return False, so that Triton's discovery of drivers never finds this one."""
        return False

    def get_current_target(self) -> Any:
        """Return the target that Triton compiles for."""
        return GPUTarget("cuda", self._device.arch, self._device.warp_size)

    def get_current_device(self) -> int:
        """Return the index of the one device."""
        return 0

    def set_current_device(self, device: int) -> None:
        """Do nothing: there is only one device."""

    def get_current_stream(self, device: int = 0) -> int:
        """Return the handle of the default stream."""
        return 0

    def get_device_capability(self, device: int = 0) -> tuple[int, int]:
        """Return the compute capability, major and minor."""
        return divmod(self._device.arch, 10)

    def get_active_torch_device(self) -> torch.device:
        """Return the device as torch names it."""
        return CUDA

    def get_device_interface(self) -> Any:
        """Return the (patched) module `torch.cuda`."""
        return torch.cuda

    def map_python_to_cpp_type(self, ty: str) -> str:
        """Return the type as it is; only launchers, which do not exist here, need its C++ name."""
        return ty

    def get_benchmarker(self) -> Callable[..., Any]:
        """Return a benchmarker that raises: there is nothing to time."""
        return _nothing_runs


def _loaded(name: str, cubin: bytes, shared: int, device: int) -> tuple[int, int, int, int, int]:
    """Return what loading a kernel returns: module, function, registers, spilled registers, threads of a block."""
    used = resources(cubin, name)
    return 1, 1, used.registers, used.local_bytes // 4, 1024


def _nothing_runs(*args: Any, **kwargs: Any) -> NoReturn:
    raise RuntimeError("there is no device: a compiled kernel cannot be loaded, launched or timed while it is traced")


class CudaIndex(HostData):
    """Answer calls of torch that would ask a driver for the current device, for device memory or for pinned memory.

    `cuda` in arguments becomes `cuda:0`.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call a function of torch with its arguments rewritten."""
        args = tuple(_indexed(value) for value in args)
        kwargs = {name: _indexed(value) for name, value in (kwargs or {}).items() if name != "pin_memory"}
        if type(kwargs.get("device")) is int:
            kwargs["device"] = torch.device("cuda", kwargs["device"])
        if func is torch.Tensor.pin_memory:
            return args[0]
        if func is torch.Tensor.cuda:
            return self.moved(args[0], CUDA)
        if func is torch.Tensor.to and any(map(_on_cuda, (*args[1:], *kwargs.values()))):
            args = (_without_value(args[0]), *args[1:])
        return super().__torch_function__(func, types, args, kwargs)

    def moved(self, tensor: torch.Tensor, device: Any) -> torch.Tensor:
        """Copy a tensor to a device."""
        return (_without_value(tensor) if _on_cuda(device) else tensor).to(device)


def _on_cuda(value: Any) -> bool:
    device = value.device if isinstance(value, torch.Tensor) else value
    return isinstance(device, torch.device) and device.type == "cuda"


def _without_value(tensor: torch.Tensor) -> torch.Tensor:
    """Return a fake tensor in the place of one whose value is known: torch would copy the value to a real device."""
    known = isinstance(tensor, FakeTensor) and tensor.constant is not None
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device) if known else tensor


def _indexed(value: Any) -> Any:
    if isinstance(value, str) and value.partition(":")[0] == "cuda":
        return CUDA if value == "cuda" else torch.device(value)
    if isinstance(value, torch.device) and value.type == "cuda" and value.index is None:
        return CUDA
    return value


class Addresses:
    """Made-up addresses of storages, far apart and aligned as by the caching allocator."""

    def __init__(self) -> None:
        self._bases: dict[int, tuple[int, torch.UntypedStorage]] = {}

    def place(self, tensors: Sequence[torch.Tensor], addresses: Sequence[int]) -> None:
        """Give the storages of tensors these addresses; a storage that has an address keeps it."""
        for tensor, address in zip(tensors, addresses, strict=True):
            storage = tensor.untyped_storage()
            self._bases.setdefault(storage._cdata, (address, storage))

    def of(self, tensor: torch.Tensor) -> int:
        """Return the address of a tensor's first element; storages are kept alive, so that no address is used twice."""
        storage = tensor.untyped_storage()
        base, _ = self._bases.setdefault(storage._cdata, ((len(self._bases) + 1) * _APART + _FIRST, storage))
        return base + int(tensor.storage_offset()) * tensor.element_size()

    def holds(self, number: int) -> bool:
        """Return whether a number is an address inside a storage whose address was asked for."""
        return any(base <= number < base + max(1, storage.nbytes()) for base, storage in self._bases.values())


@contextmanager
def pretend(device: Device, forbid: Callable[[str], NoReturn]) -> Iterator[Addresses]:
    """Have torch and Triton behave inside the block as if `device` were there; yield the addresses of its tensors.

    Args:
        device: the description.
        forbid: called with the words for a forbidden part of torch when it is used; raises.

    Yields:
        The addresses that tensors have.
    """
    driver = triton.runtime.driver
    addresses = Addresses()
    with ExitStack() as undo:
        undo.callback(setattr, driver, "_active", driver._active)
        driver.set_active(StubDriver(device))
        for path, value in device_answers(device).items():
            _replace(undo, f"cuda.{path}", value)
        # A fake tensor on CUDA would first make a real one, so that a context exists for backward.
        undo.callback(setattr, fake_tensor, "init_gpu_context", fake_tensor.init_gpu_context)
        setattr(fake_tensor, "init_gpu_context", _constant(None))  # noqa: B010 - a function of another type
        for path, words in NAMED_AFTER_USE.items():
            _replace(undo, path, _forbidden(words, forbid))
        undo.enter_context(raw_stream())
        before = FakeTensor.__dict__.get("data_ptr", torch.Tensor.data_ptr)
        undo.callback(setattr, FakeTensor, "data_ptr", before)
        setattr(FakeTensor, "data_ptr", lambda tensor: addresses.of(tensor))  # noqa: B010 - a method of other types
        undo.enter_context(_without_device_guard())
        undo.enter_context(CudaIndex())
        yield addresses


@contextmanager
def raw_stream() -> Iterator[None]:
    """Answer inside the block the query for the current stream's handle, by which code of torch's compiler launches."""
    name, missing = "_cuda_getCurrentRawStream", object()
    before = getattr(torch._C, name, missing)
    setattr(torch._C, name, _constant(0))
    try:
        yield
    finally:
        delattr(torch._C, name) if before is missing else setattr(torch._C, name, before)


def _forbidden(words: str, forbid: Callable[[str], NoReturn]) -> Callable[..., Any]:
    return lambda *args, **kwargs: forbid(words)


def _replace(undo: ExitStack, path: str, value: Any) -> None:
    """Set `torch.<path>` until the stack ends; leave out a path that this version of torch does not have."""
    folder, _, name = path.rpartition(".")
    owner = getattr(torch, folder) if folder else torch
    if hasattr(owner, name):
        undo.callback(setattr, owner, name, getattr(owner, name))
        setattr(owner, name, value)


def device_answers(device: Device) -> dict[str, Any]:
    """Return, for each query of `torch.cuda` by name, a function that answers it."""
    major, minor = divmod(device.arch, 10)
    properties = SimpleNamespace(
        name=device.name,
        major=major,
        minor=minor,
        multi_processor_count=device.sm_count,
        total_memory=device.memory_bytes,
        warp_size=device.warp_size,
        max_threads_per_block=1024,
        max_threads_per_multi_processor=device.threads_per_sm,
        regs_per_multiprocessor=device.registers_per_sm,
        shared_memory_per_block=49152,
        shared_memory_per_block_optin=device.shared_bytes_per_block,
        shared_memory_per_multiprocessor=device.shared_bytes_per_sm,
        L2_cache_size=device.l2_bytes,
        clock_rate=device.sm_clock_mhz * 1000,
        is_integrated=0,
        is_multi_gpu_board=0,
    )
    stream = SimpleNamespace(cuda_stream=0, synchronize=lambda: None, device=CUDA)
    nothing = ("synchronize", "set_device", "empty_cache", "init", "_lazy_init", "reset_peak_memory_stats")
    return {name: _constant(None) for name in nothing} | {
        "is_available": _constant(True),
        "is_initialized": _constant(False),
        "is_bf16_supported": _constant(True),
        "device_count": _constant(1),
        "current_device": _constant(0),
        "get_device_properties": _constant(properties),
        "get_device_capability": _constant((major, minor)),
        "get_device_name": _constant(device.name),
        "mem_get_info": _constant((device.memory_bytes, device.memory_bytes)),
        "current_stream": _constant(stream),
        "default_stream": _constant(stream),
        "device": lambda *args: nullcontext(),
        "device_of": lambda *args: nullcontext(),
        "_DeviceGuard": lambda *args: nullcontext(),
    }


def _constant(value: Any) -> Callable[..., Any]:
    return lambda *args, **kwargs: value


@contextmanager
def _without_device_guard() -> Iterator[None]:
    """Put the device guard of meta tensors, which does nothing, in the place of CUDA's.

    Indexing and copying set the current device through a guard.  A torch built without CUDA has none and raises; a
    torch with CUDA would make a context.  There is no public call for this: torch's own (`_ensureCUDADeviceGuardSet`)
    only covers CUDA builds.
    """
    (library,) = Path(torch.__file__).parent.glob("lib/libc10.so")
    c10 = ctypes.CDLL(str(library))
    registry = (ctypes.c_void_p * (_META_GUARD + 1)).in_dll(c10, "_ZN3c104impl26device_guard_impl_registryE")
    before = registry[_CUDA_GUARD]
    registry[_CUDA_GUARD] = registry[_META_GUARD]
    try:
        yield
    finally:
        registry[_CUDA_GUARD] = before
