"""Describe the first visible device and measure its rates, to which every roofline share refers.

Rates are the best of repeated calls on random data, timed by CUDA events: they serve as upper bounds.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any  # torch's device properties have no type

import torch

from kopt.device.hardware import stream
from kopt.device.hardware.gpus import visible_gpus
from kopt.device.hardware.measured import MeasuredDevice, peaks_key
from kopt.device.hardware.nvml import Clocks, driver_version
from kopt.device.hardware.zygote import warm
from kopt.errors import DeviceError
from kopt.model.device import Device
from kopt.sandbox.service import ServiceProcess
from kopt.store import Store

COPY_BYTES = 2 << 30
"""Size of the buffer that is copied; the copy reads and writes it once."""
READ_BYTES, READ_SHARE = 4 << 30, 0.25
"""Size of the buffer that is read, and the share of the device's memory that it takes at most."""
MATRIX = 8192
"""Rows and columns of the matrices that are multiplied."""
REPEATS = 15
MATMUL_DTYPES = ("bfloat16", "float16", "float32")
FP32_PER_SM = 128
"""Fused multiply-adds in FP32 per clock of a multiprocessor, from compute capability 8.6 and 9.0 on (8.0: 64)."""
VECTOR_SHARE = 0.9
"""Share of the FP32 peak that CUDA cores can reach."""
DEVICE_S = 120.0
"""Limit of measuring, s."""


def describe_device() -> MeasuredDevice:
    """Describe and measure the first visible device, in a process of its own; this takes a few seconds.

    Raises:
        DeviceError: there is no device, or this process has used CUDA.
        WorkerDied: the measuring process died.
    """
    warm()
    measurer = ServiceProcess("measuring the device", _Measurer)
    try:
        measured: MeasuredDevice = measurer.call("measure", seconds=DEVICE_S)
    finally:
        measurer.end()
    return measured


def known_device(store: Store) -> MeasuredDevice:
    """Return the first visible device from the store, or measure it and store it.

    Raises:
        DeviceError: there is no device, or it cannot be measured from this process.
        WorkerDied: the measuring process died.
    """
    visible = visible_gpus(os.environ)
    if not visible:
        raise DeviceError("no GPU is visible: look at nvidia-smi and at CUDA_VISIBLE_DEVICES")
    return store.shelf(MeasuredDevice).get_or_make(peaks_key(visible[0]), describe_device)


class _Measurer:
    """Measure the device; lives in a process of its own."""

    def identify(self) -> MeasuredDevice:
        """Describe the device, with rates of 0."""
        properties = torch.cuda.get_device_properties(0)
        uuid = f"GPU-{str(properties.uuid).removeprefix('GPU-')}"
        clock = Clocks(uuid).max_sm_clock_mhz()
        arch = properties.major * 10 + properties.minor
        per_clock = 2 * (64 if arch == 80 else FP32_PER_SM) * properties.multi_processor_count
        device = Device(
            name=properties.name,
            arch=arch,
            sm_count=properties.multi_processor_count,
            shared_bytes_per_block=_property(properties, "shared_memory_per_block_optin", 232448),
            shared_bytes_per_sm=_property(properties, "shared_memory_per_multiprocessor", 233472),
            registers_per_sm=_property(properties, "regs_per_multiprocessor", 65536),
            threads_per_sm=_property(properties, "max_threads_per_multi_processor", 2048),
            l2_bytes=_property(properties, "L2_cache_size", 50 << 20),
            memory_bytes=properties.total_memory,
            sm_clock_mhz=clock,
            copy_gb_s=0.0,
            vector_tflop_s=round(VECTOR_SHARE * per_clock * clock / 1e6, 1),
            measured=False,
        )
        return MeasuredDevice(device=device, uuid=uuid, driver=driver_version(), read_gb_s=0.0)

    def measure(self) -> MeasuredDevice:
        """Describe the device with its rates."""
        identified = self.identify()
        copy, read = _copy_gb_s(), _read_gb_s(identified.device.memory_bytes)
        matmul = {name: _matmul_tflop_s(getattr(torch, name)) for name in MATMUL_DTYPES}
        rates = {"copy_gb_s": max(copy, read), "matmul_tflop_s": matmul, "measured": True}
        return identified.model_copy(update={"device": identified.device.model_copy(update=rates), "read_gb_s": read})


def _copy_gb_s() -> float:
    source = torch.randint(0, 255, (COPY_BYTES,), dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return round(2 * COPY_BYTES / _best_ms(lambda: target.copy_(source)) / 1e6, 1)


def _read_gb_s(memory_bytes: int) -> float:
    size = min(READ_BYTES, int(READ_SHARE * memory_bytes))
    size -= size % max(stream.PROGRAM_BYTES)
    return round(size / min(map(_best_ms, stream.reading_calls(size))) / 1e6, 1)


def _matmul_tflop_s(dtype: torch.dtype) -> float:
    """Measure the rate of a large matrix product; FP32 operands count as TF32, as tensor cores multiply them."""
    torch.backends.cuda.matmul.allow_tf32 = True
    a, b = (torch.randn(MATRIX, MATRIX, device="cuda").to(dtype) for _ in range(2))
    return round(2 * MATRIX**3 / _best_ms(lambda: a @ b) / 1e9, 1)


def _best_ms(call: Callable[[], object]) -> float:
    """Return the shortest time of repeated calls, ms."""
    times: list[float] = []
    for turn in range(REPEATS + 3):
        before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        before.record()
        call()
        after.record()
        torch.cuda.synchronize()
        if turn >= 3:
            times.append(before.elapsed_time(after))
    return min(times)


def _property(properties: Any, name: str, default: int) -> int:
    return int(getattr(properties, name, default))
