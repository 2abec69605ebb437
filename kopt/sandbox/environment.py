"""Set environment variables of this process at the edge of a job, before a library reads them."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

GPU_VARIABLE = "CUDA_VISIBLE_DEVICES"
"""Variable that says which GPUs CUDA may use."""
NO_GPU: Mapping[str, str] = {GPU_VARIABLE: ""}
"""Environment of a process that is to see no GPU."""
ONE_THREAD: Mapping[str, str] = {"OMP_NUM_THREADS": "1"}
"""Environment of a process that computes little: several threads wait for each other where cores are busy."""
NO_CUDA_CALL: Mapping[str, str] = {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
"""Environment in which torch asks NVML whether there is a GPU, and does not initialise CUDA, which ends forking."""

_CUDA_NOT_INITIALISED = 3


@contextmanager
def environment_set(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables of this process for the length of a block; processes that it starts inherit them.

    A library that reads a variable once keeps what it has read: CUDA, once initialised, stays bound.

    Args:
        variables: values by name.
    """
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def cuda_is_initialised() -> bool:
    """Return whether CUDA is initialised in this process, so that `CUDA_VISIBLE_DEVICES` comes too late."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return True
    try:
        driver = ctypes.CDLL("libcuda.so.1", mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
    except OSError:
        return False
    return bool(driver.cuDeviceGetCount(ctypes.byref(ctypes.c_int())) != _CUDA_NOT_INITIALISED)
