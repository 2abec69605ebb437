"""What a measured time is valid for; told without CUDA and without importing torch or Triton."""

from __future__ import annotations

import importlib.metadata
import os

from kopt.device.hardware.gpus import visible_gpus
from kopt.model.environment import Environment
from kopt.provenance import code_digest


def environment(gpu: str, uuid: str, driver: str) -> Environment:
    """What a time on this device is valid for.

    Args:
        gpu: the device's name.
        uuid: `GPU-...`.
        driver: version of the driver.
    """
    return Environment(
        gpu=gpu,
        uuid=uuid,
        driver=driver,
        torch=importlib.metadata.version("torch"),
        triton=importlib.metadata.version("triton"),
        evaluator=code_digest("kopt.device.cuda.judge"),
    )


def environments() -> tuple[Environment, ...]:
    """What times on each of the visible GPUs are valid for: a known time on any of them need not be taken again.

    Raises:
        DeviceError: there is a driver, and it does not answer.
    """
    return tuple(environment(gpu.name, gpu.uuid, gpu.driver) for gpu in visible_gpus(os.environ))
