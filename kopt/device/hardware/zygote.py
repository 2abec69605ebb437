"""The zygote: a process with torch and Triton imported and no CUDA context, from which everything else is forked.

Whoever judges is the zygote; a CUDA context does not survive a fork, so it must never make one.
"""

from __future__ import annotations

import os
from typing import Any

import torch

from kopt.errors import DeviceError


def check_unused() -> None:
    """Refuse a process that cannot be a zygote; torch has one thread here from now on, since a fork loses the others.

    Raises:
        DeviceError: it has used CUDA already.
    """
    if torch.cuda.is_initialized():
        raise DeviceError("this process has used CUDA already: judge in a process of its own")
    torch.set_num_threads(1)


def warm() -> Any:
    """Import Triton with its CUDA driver, without a context; the driver, which is the active one from now on.

    Raises:
        DeviceError: this process has used CUDA already, or Triton finds no driver.
    """
    check_unused()
    os.environ["TRITON_DISABLE_LINE_INFO"] = "1"
    import triton

    if triton.knobs.runtime.interpret:
        raise DeviceError("Triton was imported with its interpreter: judge in a process of its own")
    active = triton.runtime.driver._active if hasattr(triton.runtime.driver, "_active") else None
    if type(active).__name__ != "CudaDriver":
        try:
            from triton.backends.nvidia.driver import CudaDriver

            active = CudaDriver()
        except (ImportError, AssertionError, OSError) as error:
            raise DeviceError(f"Triton finds no CUDA driver: {error}") from error
        triton.runtime.driver.set_active(active)
    _warm_compiler()
    return active


def _warm_compiler() -> None:
    """Do once what costs seconds the first time: Triton hashes itself and asks ptxas for its version."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler.compiler import make_backend

    make_backend(GPUTarget("cuda", 90, 32)).hash()
    try:
        from triton.runtime.cache import triton_key
    except ImportError:
        from triton.compiler.compiler import triton_key
    triton_key()
