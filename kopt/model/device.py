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


MEMORY_SHARE, MATMUL_SHARE, VECTOR_SHARE = 0.90, 0.75, 0.90
"""Shares of the data sheet's rates that kernels reach: those of the H100 that was measured (3027 of 3350 GB/s, 740 of
989 TFLOP/s; of the vector rate, 60 of 67).  A GPU that is less bound by its power may reach more of its matrix rate."""


COMPARED = ("NVIDIA H100 80GB HBM3", "NVIDIA H200")
"""Names of the devices on which estimated times were compared with measured ones (docs/estimate.md)."""


def estimate_warning(device_name: str) -> str:
    """Say what is not checked about times that are estimated for a device; empty where they were compared."""
    if device_name in COMPARED:
        return ""
    return (
        f"estimates for {device_name} were never compared with measured times: their error is unknown "
        f"(they were compared on {', '.join(COMPARED)})"
    )


class DataSheet(Value):
    """The rates that a manufacturer states for a GPU: peaks, which no kernel reaches."""

    model_config = ConfigDict(allow_inf_nan=False)

    memory_gb_s: float = Field(gt=0)
    """Memory bandwidth, 1e9 bytes per second."""
    matmul_tflop_s: dict[str, float]
    """Dense matrix-product rate (without sparsity) by dtype name, 1e12 operations per second; `float32`: TF32."""
    vector_tflop_s: float = Field(gt=0)
    """FP32 rate outside the tensor cores, 1e12 floating-point operations per second."""

    def rates(self) -> dict[str, object]:
        """Return the rates of a `Device` that may be expected: fixed shares of the stated peaks."""
        return {
            "copy_gb_s": round(MEMORY_SHARE * self.memory_gb_s, 1),
            "matmul_tflop_s": {name: round(MATMUL_SHARE * rate, 1) for name, rate in self.matmul_tflop_s.items()},
            "vector_tflop_s": round(VECTOR_SHARE * self.vector_tflop_s, 1),
            "measured": False,
        }


class Toolchain(Value):
    """The versions and the target that a build depends on."""

    torch: str
    triton: str
    arch: int
    """Compute capability times ten."""
