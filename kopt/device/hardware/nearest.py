"""Find the described device that is most like a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from kopt.device.hardware.gpus import Gpu
from kopt.model.device import Device


def nearest(gpu: Gpu | Device, described: Sequence[Device]) -> Device:
    """Return the described device whose kernels suit a GPU best.

    Of several of the GPU's compute capability it is the one whose name begins most like the GPU's.  Where there is
    none, it is the one with the least shared memory for a block, so that what is written for it fits most likely.

    Args:
        gpu: the GPU.
        described: descriptions of devices, at least one.
    """
    alike = [device for device in described if device.arch == gpu.arch]
    if alike:
        return max(alike, key=lambda device: _alike(device.name, gpu.name))
    return min(described, key=lambda device: (device.shared_bytes_per_block, abs(device.arch - gpu.arch)))


def _alike(one: str, other: str) -> int:
    """Return how many characters two names have in common at their beginning."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
