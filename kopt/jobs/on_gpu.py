"""Lease a GPU for a job, bind the job's process to it, and measure the GPU once.

This is the only place that binds a running process to a GPU (`CUDA_VISIBLE_DEVICES`), before CUDA reads the variable.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from kopt.device.hardware.gpus import Gpu, visible_gpus
from kopt.device.hardware.lease import lease
from kopt.device.hardware.measured import MeasuredDevice, remembered
from kopt.errors import DeviceError
from kopt.model.device import Device
from kopt.sandbox.environment import environment_set
from kopt.store import Store


def described(store: Store, *, wait_s: float, like: Device | None = None) -> MeasuredDevice:
    """Describe one of the visible GPUs, preferably one that was measured before.

    Args:
        store: keeps the rates of measured devices.
        wait_s: longest wait for a GPU, s.
        like: as for `leased`.

    Raises:
        DeviceError: see `leased`.
    """
    device = remembered(_alike(like), store)
    if device is not None:
        return device
    with leased(store, wait_s=wait_s, like=like) as device:
        return device


def _alike(like: Device | None) -> tuple[Gpu, ...]:
    """Return the visible GPUs of a device's kind; all where none is, so that `check_same` can name them."""
    gpus = visible_gpus(os.environ)
    if like is None:
        return gpus
    return tuple(gpu for gpu in gpus if _is_same(gpu.arch, gpu.name, like)) or gpus


def _is_same(arch: int, name: str, device: Device) -> bool:
    return arch == device.arch and (not device.measured or name == device.name)


@contextmanager
def leased(
    store: Store, *, wait_s: float, like: Device | None = None, patience_s: float = 0.0
) -> Iterator[MeasuredDevice]:
    """Lease one of the visible GPUs; inside the block this process, and processes that it starts, see no other GPU.

    Args:
        store: keeps the rates of measured devices.
        wait_s: longest wait for a GPU, s.
        like: of GPUs of several kinds those of this kind are asked for: of its compute capability, and where it was
            measured, of its name; None: any.
        patience_s: time for which jobs that ask later get the GPU first, s.

    Yields:
        The GPU, described and measured.

    Raises:
        DeviceError: there is no GPU, the GPU cannot be measured, or other processes held all GPUs for `wait_s` seconds.
    """
    from kopt.device.hardware.peaks import known_device  # imports torch, for seconds in which no GPU need be held

    with lease(_alike(like), wait_s=wait_s, patience_s=patience_s) as held, environment_set(held.gpu.environment):
        yield known_device(store)


def check_same(leased_device: MeasuredDevice, device: Device) -> None:
    """Check that the leased GPU is of the kind that the run's kernels are built for and timed on.

    Kernels that are built for a description, not for a measured device, run on each GPU of its architecture.

    Raises:
        DeviceError: the GPU is of another kind; the message names both devices, and the machine.
    """
    here = leased_device.device
    if not _is_same(here.arch, here.name, device):
        raise DeviceError(
            f"this job got a {here.name} (sm_{here.arch}) on {socket.gethostname()}, but the run's kernels are built "
            f"for {device.name} (sm_{device.arch}) and timed there: use GPUs of one kind in a run (setting gpu_model)"
        )
