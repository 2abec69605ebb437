"""Define the description of a GPU, and the versions with which kernels are compiled for it."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from kopt.model.base import Value


class Device(Value):
    """A GPU as the CPU stage and the estimate see it; a run without a GPU takes it from `config/devices/`."""

    model_config = ConfigDict(allow_inf_nan=False)

    name: str
    """Name that the driver gives it."""
    arch: int
    """Compute capability times ten, e.g. 90."""
    warp_size: int = 32
    sm_count: int
    """Streaming multiprocessors."""
    shared_bytes_per_block: int
    """Largest dynamic shared memory of one block (opt-in), bytes."""
    shared_bytes_per_sm: int
    """Shared memory of a multiprocessor, bytes."""
    registers_per_sm: int = 65536
    """32-bit registers of a multiprocessor."""
    threads_per_sm: int = 2048
    """Most resident threads of a multiprocessor."""
    blocks_per_sm: int = 32
    """Most resident blocks of a multiprocessor."""
    l2_bytes: int
    """L2 cache, bytes."""
    memory_bytes: int
    """Device memory, bytes."""
    sm_clock_mhz: int
    """Boost clock of the multiprocessors, MHz."""
    copy_gb_s: float
    """Measured device-to-device copy, bytes read plus written, 1e9 bytes per second."""
    matmul_tflop_s: dict[str, float] = Field(default_factory=dict)
    """Measured matrix-product rate by dtype name, 1e12 floating-point operations per second."""
    vector_tflop_s: float
    """FP32 rate outside the tensor cores, 1e12 floating-point operations per second."""
    measured: bool
    """Whether the rates were measured on this very device, not taken from a description file."""


class Toolchain(Value):
    """The versions and the target that a build depends on."""

    torch: str
    triton: str
    arch: int
    """Compute capability times ten."""
