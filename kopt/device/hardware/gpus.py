"""Which GPUs there are, asked of the driver's management library: no CUDA context is made, torch is not imported.

What a process may use follows from `CUDA_VISIBLE_DEVICES` as CUDA reads it, except that numbers always count in the
order of the PCI bus (as `nvidia-smi` counts, and CUDA with `CUDA_DEVICE_ORDER=PCI_BUS_ID`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pynvml

from kopt.errors import DeviceError
from kopt.model.base import Value

VISIBLE = "CUDA_VISIBLE_DEVICES"


class Gpu(Value):
    """A GPU, or one instance of a GPU that is divided (MIG)."""

    uuid: str
    """`GPU-...`, or `MIG-...` for an instance."""
    name: str
    memory_bytes: int
    driver: str
    """Version of the driver."""
    arch: int
    """Compute capability times ten, e.g. 90."""
    index: int
    """Position on the PCI bus, from 0; an instance has its GPU's."""


def find_gpus() -> tuple[Gpu, ...]:
    """All GPUs of this machine, and of a divided one its instances; none where there is no driver.

    Raises:
        DeviceError: there is a driver, and it does not answer.
    """
    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
        return ()
    except pynvml.NVMLError as error:
        raise DeviceError(f"the NVIDIA driver does not answer: {error}; does nvidia-smi work?") from error
    try:
        driver = _text(pynvml.nvmlSystemGetDriverVersion())
        return tuple(gpu for at in range(pynvml.nvmlDeviceGetCount()) for gpu in _at(at, driver))
    except pynvml.NVMLError as error:
        raise DeviceError(f"the NVIDIA driver does not describe its GPUs: {error}") from error
    finally:
        pynvml.nvmlShutdown()


def visible_gpus(environment: Mapping[str, str], gpus: Sequence[Gpu] | None = None) -> tuple[Gpu, ...]:
    """The GPUs that a process with this environment may use, in its order.

    Args:
        environment: e.g. `os.environ`.
        gpus: all there are; by default found.

    Raises:
        DeviceError: see `find_gpus`.
    """
    gpus = find_gpus() if gpus is None else gpus
    wanted = environment.get(VISIBLE)
    return tuple(gpus) if wanted is None else _chosen(wanted, gpus)


def _chosen(wanted: str, gpus: Sequence[Gpu]) -> tuple[Gpu, ...]:
    """What a value of the variable names: CUDA stops at the first entry that names nothing."""
    chosen: list[Gpu] = []
    for entry in wanted.split(","):
        gpu = _named(entry.strip(), gpus)
        if gpu is None:
            break
        if gpu in chosen:
            return ()
        chosen.append(gpu)
    return tuple(chosen)


def _named(entry: str, gpus: Sequence[Gpu]) -> Gpu | None:
    """The GPU with this number or this beginning of a UUID; an instance stands for its divided GPU's number."""
    if entry.isascii() and entry.isdecimal():
        return next((gpu for gpu in gpus if gpu.index == int(entry)), None)
    if not entry.startswith(("GPU-", "MIG-")):
        return None
    found = [gpu for gpu in gpus if gpu.uuid.startswith(entry)]
    return found[0] if len(found) == 1 else None


def _at(index: int, driver: str) -> Iterator[Gpu]:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    arch = _arch(handle)
    instances = list(_instances(handle))
    for one in instances or [handle]:
        yield Gpu(
            uuid=_text(pynvml.nvmlDeviceGetUUID(one)),
            name=_text(pynvml.nvmlDeviceGetName(one)),
            memory_bytes=int(pynvml.nvmlDeviceGetMemoryInfo(one).total),
            driver=driver,
            arch=arch,
            index=index,
        )


def _instances(handle: Any) -> Iterator[Any]:
    """Handles of the instances of a divided GPU."""
    try:
        mode, _ = pynvml.nvmlDeviceGetMigMode(handle)
    except pynvml.NVMLError_NotSupported:
        return
    if mode != pynvml.NVML_DEVICE_MIG_ENABLE:
        return
    for at in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            yield pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, at)
        except pynvml.NVMLError_NotFound:
            continue


def _arch(handle: Any) -> int:
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    return 10 * int(major) + int(minor)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
