"""Call the CUDA driver's library, below torch and Triton."""

from __future__ import annotations

import ctypes
from functools import cache

from kopt.errors import DeviceError


@cache
def driver() -> ctypes.CDLL:
    """Load the CUDA driver's library.

    Raises:
        DeviceError: there is no CUDA driver.
    """
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise DeviceError(
            "no CUDA driver: libcuda.so.1 cannot be loaded; install NVIDIA's driver, or judge without a GPU"
        ) from error


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


def leave() -> None:
    """Destroy this process's CUDA context, even a broken one.

    Otherwise the parent, which waits for this process, would wait for the driver to clean up.
    """
    driver().cuDevicePrimaryCtxReset_v2(ctypes.c_int(0))
