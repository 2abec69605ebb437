"""A GPU that is not there: what a candidate asks torch and Triton about its device, answered for the interpreter.

Tensors lie in CPU memory and say that they are on `cuda:0`; whoever asks for a device of that kind gets CPU memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

ARCH = 90
"""Compute capability times ten that candidates are told."""

MULTIPROCESSORS = 8
"""Few, so that a persistent grid of one program per multiprocessor is quick to interpret."""

SHARED_BYTES = 232448
MEMORY_BYTES = 80 << 30
NAME = "NVIDIA H100 80GB HBM3"


class CudaFacade(TorchFunctionMode):
    """While active, CPU tensors say that they are on CUDA, and CUDA tensors are made in CPU memory."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        answer = _ANSWERS.get(_name(func))
        if answer is not None:
            return answer(*args)
        named = {key: _on_cpu(value) for key, value in (kwargs or {}).items()}
        return func(*map(_on_cpu, args), **named)


def _name(func: Callable[..., Any]) -> str:
    """`device` for the getter of `Tensor.device`, else the function's own name with its owner's."""
    name = getattr(func, "__name__", "")
    if name == "__get__":
        return f"get {getattr(getattr(func, '__self__', None), '__name__', '')}"
    return str(name)


def _on_cpu(value: Any) -> Any:
    if isinstance(value, torch.device):
        return torch.device("cpu") if value.type == "cuda" else value
    if isinstance(value, str) and (value == "cuda" or value.startswith("cuda:")):
        return "cpu"
    return value


_ANSWERS: dict[str, Callable[..., Any]] = {
    "get device": lambda tensor: torch.device("cuda", 0),
    "get is_cuda": lambda tensor: True,
    "get is_cpu": lambda tensor: False,
    "get_device": lambda tensor: 0,
    "cuda": lambda tensor, *rest: tensor,
    "record_stream": lambda tensor, *rest: None,
}


@contextlib.contextmanager
def facade() -> Iterator[None]:
    """Tensors made and asked inside are on a GPU, as far as they tell."""
    with CudaFacade():
        yield


def install(driver: Any) -> None:
    """Answer torch's and Triton's questions about the device in this process, for good.

    Args:
        driver: `triton.runtime.driver`.
    """
    for name, answer in _TORCH_CUDA.items():
        setattr(torch.cuda, name, answer)
    driver.set_active(_Driver())


def _properties(*_: Any) -> SimpleNamespace:
    return SimpleNamespace(
        name=NAME,
        major=ARCH // 10,
        minor=ARCH % 10,
        multi_processor_count=MULTIPROCESSORS,
        total_memory=MEMORY_BYTES,
        warp_size=32,
        max_threads_per_multi_processor=2048,
        max_threads_per_block=1024,
        regs_per_multiprocessor=65536,
        shared_memory_per_block=49152,
        shared_memory_per_block_optin=SHARED_BYTES,
        shared_memory_per_multiprocessor=SHARED_BYTES + 1024,
        L2_cache_size=50 << 20,
        is_integrated=False,
    )


class _Stream:
    cuda_stream = 0

    def synchronize(self) -> None:
        """Nothing waits."""


_TORCH_CUDA: dict[str, Any] = {
    "is_available": lambda: True,
    "is_initialized": lambda: True,
    "init": lambda: None,
    "device_count": lambda: 1,
    "current_device": lambda: 0,
    "set_device": lambda device: None,
    "device": lambda device: contextlib.nullcontext(),
    "get_device_name": lambda device=None: NAME,
    "get_device_capability": lambda device=None: divmod(ARCH, 10),
    "get_device_properties": _properties,
    "is_bf16_supported": lambda *args, **named: True,
    "synchronize": lambda device=None: None,
    "empty_cache": lambda: None,
    "current_stream": lambda device=None: _Stream(),
    "default_stream": lambda device=None: _Stream(),
}


class _Driver:
    """Stands for Triton's CUDA driver: answers, and launches nothing."""

    def __init__(self) -> None:
        self.utils = SimpleNamespace(get_device_properties=self._device_properties)

    @staticmethod
    def _device_properties(device: int) -> dict[str, int]:
        return {
            "max_shared_mem": SHARED_BYTES,
            "max_num_regs": 65536,
            "multiprocessor_count": MULTIPROCESSORS,
            "warpSize": 32,
            "sm_clock_rate": 1980000,
            "mem_clock_rate": 2619000,
            "mem_bus_width": 5120,
        }

    def get_current_target(self) -> Any:
        """The GPU that candidates are told of."""
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", ARCH, 32)

    def get_current_device(self) -> int:
        """The first device."""
        return 0

    def get_current_stream(self, device: int | None = None) -> int:
        """The default stream."""
        return 0

    def get_active_torch_device(self) -> torch.device:
        """The first device."""
        return torch.device("cuda", 0)

    def get_device_interface(self) -> Any:
        """Torch's module of the device."""
        return torch.cuda
