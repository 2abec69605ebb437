"""A run on GPUs stays on GPUs of one kind."""

import pytest

from kopt.backends.dry_gpu import device
from kopt.device.hardware.gpus import Gpu
from kopt.device.hardware.measured import MeasuredDevice
from kopt.errors import DeviceError
from kopt.jobs import on_gpu
from kopt.jobs.on_gpu import check_same
from kopt.store import Store


@pytest.fixture
def gpu(tmp_path):
    """A description of a GPU, as a run on it keeps it."""
    return device(Store(tmp_path), 60.0).model_copy(update={"name": "NVIDIA H100 80GB HBM3", "measured": True})


def leased(gpu, **changes):
    """The GPU that a job got."""
    return MeasuredDevice(device=gpu.model_copy(update=changes), uuid="GPU-1", driver="1", read_gb_s=1.0)


@pytest.mark.parametrize(("name", "arch"), [("NVIDIA H200", 90), ("NVIDIA A100-SXM4-80GB", 80)])
def test_a_job_that_got_a_gpu_of_another_kind_says_so_in_a_line(gpu, name, arch):
    with pytest.raises(DeviceError, match=rf"^this job got a {name} .*NVIDIA H100 80GB HBM3.*gpu_model\)$"):
        check_same(leased(gpu, name=name, arch=arch), gpu)


def test_of_gpus_of_several_kinds_the_one_is_asked_for_that_a_kernel_was_built_for(gpu, monkeypatch):
    kinds = [("NVIDIA A100-SXM4-80GB", 80), (gpu.name, 90), ("NVIDIA H200", 90)]
    here = tuple(
        Gpu(uuid=f"GPU-{at}", name=name, memory_bytes=1, driver="1", arch=arch, index=at)
        for at, (name, arch) in enumerate(kinds)
    )
    monkeypatch.setattr(on_gpu, "visible_gpus", lambda environment: here)
    assert on_gpu._alike(None) == here
    assert on_gpu._alike(gpu) == here[1:2]
    assert on_gpu._alike(gpu.model_copy(update={"name": "H100", "measured": False})) == here[1:]
    assert on_gpu._alike(gpu.model_copy(update={"arch": 100})) == here  # `check_same` says what is wrong


def test_another_gpu_of_the_kind_will_do(gpu):
    check_same(leased(gpu, sm_clock_mhz=1000), gpu)


def test_a_description_fits_each_gpu_of_its_architecture(gpu):
    described = gpu.model_copy(update={"name": "H100", "measured": False})
    check_same(leased(gpu), described)
    with pytest.raises(DeviceError):
        check_same(leased(gpu, arch=100), described)
