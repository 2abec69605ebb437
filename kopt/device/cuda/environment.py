"""Name the device and the versions for which a measured time is valid, without CUDA, torch or Triton."""

from __future__ import annotations

import importlib.metadata
import os

from kopt.device.hardware.gpus import visible_gpus
from kopt.model.environment import Environment
from kopt.provenance import code_digest


def environment(gpu: str, uuid: str, driver: str) -> Environment:
    """Return the device and the versions for which a time on this device is valid.

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


def of_any_such_gpu(where: Environment) -> Environment:
    """Return the environment of every GPU of that name, on any host, with the same versions of software.

    Times and counters of such a GPU steer a search that goes on elsewhere; they decide no race.
    """
    return where.model_copy(update={"uuid": "", "driver": ""})


def environments() -> tuple[Environment, ...]:
    """Return the environments of all visible GPUs: a stored time of any of them need not be measured again.

    Raises:
        DeviceError: the NVIDIA driver does not answer.
    """
    return tuple(environment(gpu.name, gpu.uuid, gpu.driver) for gpu in visible_gpus(os.environ))
