"""What a device is (description) and what a result was obtained on (toolchain, environment)."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from kopt.model.base import Value


class Device(Value):
    """A GPU as the CPU stage and the estimate see it; a run without a GPU takes it from `config/devices/`."""

    model_config = ConfigDict(allow_inf_nan=False)

    name: str
    arch: int
    """Compute capability times ten, e.g. 90."""
    warp_size: int = 32
    sm_count: int
    """Streaming multiprocessors."""
    shared_bytes_per_block: int
    """Largest dynamic shared memory of one block (opt-in), bytes."""
    shared_bytes_per_sm: int
    registers_per_sm: int = 65536
    threads_per_sm: int = 2048
    blocks_per_sm: int = 32
    l2_bytes: int
    memory_bytes: int
    sm_clock_mhz: int
    """Boost clock of the multiprocessors, MHz."""
    copy_gb_s: float
    """Measured device-to-device copy, bytes read plus written, 1e9 bytes per second."""
    matmul_tflop_s: dict[str, float] = Field(default_factory=dict)
    """Measured matrix-product rate by dtype name, 1e12 floating-point operations per second."""
    vector_tflop_s: float
    """FP32 rate outside the tensor cores, 1e12 floating-point operations per second."""
    measured: bool
    """True when the rates were measured on this very device, False when they come from a description file."""


class Toolchain(Value):
    """Versions that a build depends on."""

    torch: str
    triton: str
    arch: int
