"""Read clocks, temperature, power and throttle reasons of a device by NVML, without a CUDA context."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any  # pynvml has no types

import pynvml

from kopt.errors import DeviceError
from kopt.model.environment import Conditions

REASONS = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "thermal (software)",
    0x40: "thermal (hardware)",
    0x80: "power brake",
}
"""NVML's clock event reasons that slow a device down; idling, locked clocks and displays are left out."""


class Clocks:
    """Read the state of one device."""

    def __init__(self, uuid: str) -> None:
        """Find the device.

        Raises:
            DeviceError: NVML does not know it.
        """
        try:
            pynvml.nvmlInit()
            self._device = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        except pynvml.NVMLError as error:
            raise DeviceError(f"NVML does not know device {uuid}: {error}") from error

    def read(self) -> Conditions:
        """Read the present state; a value that the device does not offer is 0."""
        clock = _reading(pynvml.nvmlDeviceGetClockInfo, self._device, pynvml.NVML_CLOCK_SM)
        mask = _reading(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons, self._device)
        return Conditions(
            sm_clock_mhz=(clock, clock),
            temperature_c=_reading(pynvml.nvmlDeviceGetTemperature, self._device, pynvml.NVML_TEMPERATURE_GPU),
            power_w=_reading(pynvml.nvmlDeviceGetPowerUsage, self._device) / 1e3,
            throttle=tuple(sorted(name for bit, name in REASONS.items() if mask & bit)),
        )

    def max_sm_clock_mhz(self) -> int:
        """Read the boost clock of the multiprocessors, MHz."""
        return _reading(pynvml.nvmlDeviceGetMaxClockInfo, self._device, pynvml.NVML_CLOCK_SM)

    def used_bytes(self) -> int:
        """Read the device memory in use by all processes, bytes."""
        return int(pynvml.nvmlDeviceGetMemoryInfo(self._device).used)


def driver_version() -> str:
    """Read the version of the driver.

    Raises:
        DeviceError: there is no driver.
    """
    try:
        pynvml.nvmlInit()
        version = pynvml.nvmlSystemGetDriverVersion()
    except pynvml.NVMLError as error:
        raise DeviceError(f"NVML answers: {error}") from error
    return version if isinstance(version, str) else str(version, "ascii")


def together(readings: Sequence[Conditions]) -> Conditions:
    """Combine several readings of one batch: extremes of the values, and every throttle reason."""
    clocks = [clock for reading in readings for clock in reading.sm_clock_mhz]
    return Conditions(
        sm_clock_mhz=(min(clocks), max(clocks)),
        temperature_c=max(reading.temperature_c for reading in readings),
        power_w=max(reading.power_w for reading in readings),
        throttle=tuple(sorted({reason for reading in readings for reason in reading.throttle})),
    )


def _reading(question: Any, *arguments: Any) -> int:
    """Ask NVML a question; 0 where the device cannot answer it."""
    with suppress(pynvml.NVMLError):
        return int(question(*arguments))
    return 0
