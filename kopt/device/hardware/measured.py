"""Define a measured device and its key in the store; torch is not imported."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from typing import ClassVar

from kopt.device.hardware.gpus import Gpu
from kopt.model.base import Value
from kopt.model.device import Device
from kopt.provenance import code_digest
from kopt.store import Key, Store


class MeasuredDevice(Value):
    """A device with measured rates."""

    device: Device
    uuid: str
    """`GPU-...`, as NVML names it."""
    driver: str
    """Version of the driver."""
    read_gb_s: float
    """Bandwidth of reading alone, 1e9 bytes per second; the device's `copy_gb_s` is the better of copying and this."""


class PeaksKey(Key):
    """Everything that measured rates depend on."""

    kind: ClassVar[str] = "peaks"
    determined: ClassVar[bool] = False
    uuid: str
    driver: str
    torch: str
    code: str


def peaks_key(gpu: Gpu) -> PeaksKey:
    """Return the key of a device's measured rates."""
    return PeaksKey(
        uuid=gpu.uuid, driver=gpu.driver, torch=importlib.metadata.version("torch"),
        code=code_digest("kopt.device.hardware.peaks"),
    )  # fmt: skip


def remembered(gpus: Sequence[Gpu], store: Store) -> MeasuredDevice | None:
    """Return the first of these devices whose rates are in the store; None when none is."""
    stored = (store.shelf(MeasuredDevice).get(peaks_key(gpu)) for gpu in gpus)
    return next((device for device in stored if device is not None), None)
