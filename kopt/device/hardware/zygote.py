"""Make this process a zygote: torch and Triton imported, no CUDA context, ready to fork the processes of a judge.

A CUDA context does not survive a fork, so a zygote must never make one.
"""

from __future__ import annotations

import os
from typing import Any  # Triton has no types

import torch

from kopt.errors import DeviceError


def check_unused() -> None:
    """Check that this process can be a zygote, and limit torch to one thread, since a fork loses the others.

    Raises:
        DeviceError: this process has used CUDA already.
    """
    if torch.cuda.is_initialized():
        raise DeviceError("this process has used CUDA already: judge in a process of its own")
    torch.set_num_threads(1)


def warm() -> Any:
    """Import Triton and make its CUDA driver the active one, without a CUDA context; return the driver.

    Raises:
        DeviceError: this process has used CUDA already, or Triton finds no driver.
    """
    check_unused()
    load_triton()
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
    return active


def load_triton() -> None:
    """Import Triton, let it hash itself and ask ptxas for its version, which takes seconds the first time.

    A job does so before it has a GPU, which is not used here.
    """
    os.environ["TRITON_DISABLE_LINE_INFO"] = "1"
    from triton.backends.compiler import GPUTarget
    from triton.compiler.compiler import make_backend

    make_backend(GPUTarget("cuda", 90, 32)).hash()
    try:
        from triton.runtime.cache import triton_key
    except ImportError:
        from triton.compiler.compiler import triton_key
    triton_key()
