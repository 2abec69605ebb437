"""A GPU for the length of a job: leased before anything uses CUDA, and measured once."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from kopt.device.hardware.gpus import visible_gpus
from kopt.device.hardware.lease import lease
from kopt.device.hardware.measured import MeasuredDevice, remembered
from kopt.errors import DeviceError
from kopt.model.device import Device
from kopt.store import Store

log = logging.getLogger(__name__)


def described(store: Store, *, wait_s: float) -> MeasuredDevice:
    """A visible GPU, described and measured: one that was measured before, if there is one.

    Raises:
        DeviceError: see `leased`.
    """
    known = remembered(visible_gpus(os.environ), store)
    if known is not None:
        return known
    with leased(store, wait_s=wait_s) as found:
        return found


@contextmanager
def leased(store: Store, *, wait_s: float) -> Iterator[MeasuredDevice]:
    """Have one of the visible GPUs alone, described and measured; this process sees no other one.

    Args:
        store: keeps what was measured.
        wait_s: longest wait for a GPU, s.

    Raises:
        DeviceError: there is no GPU, it cannot be measured, or all were taken for `wait_s` seconds.
    """
    asked = time.monotonic()
    with lease(visible_gpus(os.environ), wait_s=wait_s) as mine:
        since = time.monotonic()
        log.info("%s leased after %.1f s", mine.gpu.uuid, since - asked)
        from kopt.device.hardware.peaks import known_device  # after the lease: it imports torch

        yield known_device(store)
        log.info("%s given back after %.1f s", mine.gpu.uuid, time.monotonic() - since)


def check_same(found: MeasuredDevice, device: Device) -> None:
    """Refuse a GPU for which the run's kernels were not built.

    Raises:
        DeviceError: names both.
    """
    if found.device.arch != device.arch:
        raise DeviceError(
            f"this job got a {found.device.name} (sm_{found.device.arch}), but the run's kernels are built for "
            f"{device.name} (sm_{device.arch}): use GPUs of one kind in a run"
        )
