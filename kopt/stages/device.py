"""Stage `device`: describe and measure the GPU of a run; the backend does the work."""

from __future__ import annotations

from kopt.model.base import Value
from kopt.model.device import Device, estimate_warning


class DeviceSettings(Value):
    """Settings of the rule device."""

    backend: str
    gpu_wait_seconds: float
    """Longest wait for a GPU, s."""


def device_line(device: Device, *, replays: bool = False) -> str:
    """Describe the device's rates in a line for the terminal; a line more where estimates are not checked."""
    rates = ", ".join(f"{name} {rate:g}" for name, rate in device.matmul_tflop_s.items())
    how = ("recorded" if replays else "measured") if device.measured else "not measured"
    line = f"{device.name}: {device.copy_gb_s:g} GB/s, matrix products at {rates or 'no known rate'} TFLOP/s, {how}"
    warning = "" if device.measured else estimate_warning(device.name)
    return f"{line}\n{warning}" if warning else line
