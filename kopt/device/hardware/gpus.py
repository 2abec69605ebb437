"""List GPUs by the driver's management library (NVML), without a CUDA context and without torch.

`CUDA_VISIBLE_DEVICES` is read as CUDA reads it, except that numbers always count in the order of the PCI bus (as
`nvidia-smi` counts, and CUDA with `CUDA_DEVICE_ORDER=PCI_BUS_ID`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any  # pynvml has no types

import pynvml

from kopt.errors import DeviceError
from kopt.model.base import Value
from kopt.sandbox.environment import GPU_VARIABLE


class Gpu(Value):
    """A GPU, or one instance of a GPU that is divided (MIG)."""

    uuid: str
    """`GPU-...`, or `MIG-...` for an instance."""
    name: str
    memory_bytes: int
    driver: str
    """Version of the driver, e.g. `580.95.05`."""
    arch: int
    """Compute capability times ten, e.g. 90."""
    index: int
    """Position on the PCI bus, from 0; an instance has the position of its GPU."""

    @property
    def environment(self) -> dict[str, str]:
        """Environment of a process that is to see this GPU and no other."""
        return {GPU_VARIABLE: self.uuid}


def find_gpus() -> tuple[Gpu, ...]:
    """Find all GPUs of this machine, and the instances of a divided one; none where there is no driver.

    Raises:
        DeviceError: the NVIDIA driver does not answer.
    """
    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
        return ()
    except pynvml.NVMLError as error:
        raise DeviceError(f"the NVIDIA driver does not answer: {error}; does nvidia-smi work?") from error
    try:
        driver = _text(pynvml.nvmlSystemGetDriverVersion())
        return tuple(gpu for at in range(pynvml.nvmlDeviceGetCount()) for gpu in _gpus_at(at, driver))
    except pynvml.NVMLError as error:
        raise DeviceError(f"the NVIDIA driver does not describe its GPUs: {error}") from error
    finally:
        pynvml.nvmlShutdown()


def visible_gpus(environment: Mapping[str, str], gpus: Sequence[Gpu] | None = None) -> tuple[Gpu, ...]:
    """Return the GPUs that a process with this environment may use, in the order of its variable.

    Args:
        environment: e.g. `os.environ`.
        gpus: all GPUs of the machine; by default those of `find_gpus`.

    Raises:
        DeviceError: see `find_gpus`.
    """
    gpus = find_gpus() if gpus is None else gpus
    wanted = environment.get(GPU_VARIABLE)
    return tuple(gpus) if wanted is None else _chosen(wanted, gpus)


def _chosen(wanted: str, gpus: Sequence[Gpu]) -> tuple[Gpu, ...]:
    """Return the GPUs that a value of the variable names; like CUDA, stop at the first entry that names none."""
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
    """Find the GPU with this number or beginning of a UUID; the number of a divided GPU means its first instance."""
    if entry.isascii() and entry.isdecimal():
        return next((gpu for gpu in gpus if gpu.index == int(entry)), None)
    if not entry.startswith(("GPU-", "MIG-")):
        return None
    matching = [gpu for gpu in gpus if gpu.uuid.startswith(entry)]
    return matching[0] if len(matching) == 1 else None


def _gpus_at(index: int, driver: str) -> Iterator[Gpu]:
    """Describe the GPU at a position of the PCI bus, or the instances that it is divided into."""
    gpu_handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    arch = _arch(gpu_handle)
    for handle in list(_instances(gpu_handle)) or [gpu_handle]:
        yield Gpu(
            uuid=_text(pynvml.nvmlDeviceGetUUID(handle)),
            name=_text(pynvml.nvmlDeviceGetName(handle)),
            memory_bytes=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
            driver=driver,
            arch=arch,
            index=index,
        )


def _instances(handle: Any) -> Iterator[Any]:
    """Yield the handles of the instances of a divided GPU."""
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
