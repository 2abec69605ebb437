import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopt.device.hardware.gpus import Gpu, find_gpus, visible_gpus


def gpu(at: int, uuid: str) -> Gpu:
    return Gpu(uuid=uuid, name="NVIDIA H100", memory_bytes=80 << 30, driver="580.1", arch=90, index=at)


WHOLE = (gpu(0, "GPU-aa01"), gpu(1, "GPU-ab02"), gpu(2, "GPU-bb03"))
DIVIDED = (gpu(0, "MIG-1111"), gpu(0, "MIG-2222"), gpu(1, "GPU-cc"))


def visible(value: str | None, gpus: tuple[Gpu, ...] = WHOLE) -> list[str]:
    environment = {} if value is None else {"CUDA_VISIBLE_DEVICES": value}
    return [one.uuid for one in visible_gpus(environment, gpus)]


@pytest.mark.parametrize(
    ("value", "uuids"),
    [
        (None, ["GPU-aa01", "GPU-ab02", "GPU-bb03"]),
        ("", []),
        ("1", ["GPU-ab02"]),
        ("2,0", ["GPU-bb03", "GPU-aa01"]),
        (" 1 , 2 ", ["GPU-ab02", "GPU-bb03"]),
        ("GPU-bb03", ["GPU-bb03"]),
        ("GPU-b,0", ["GPU-bb03", "GPU-aa01"]),
        ("GPU-a", []),
        ("0,-1,1", ["GPU-aa01"]),
        ("0,7,1", ["GPU-aa01"]),
        ("NoDevFiles", []),
        ("0,0", []),
    ],
)
def test_variable_is_read_as_cuda_reads_it(value, uuids):
    assert visible(value) == uuids


@pytest.mark.parametrize(
    ("value", "uuids"), [("MIG-2222", ["MIG-2222"]), ("0", ["MIG-1111"]), ("1,MIG-1111", ["GPU-cc", "MIG-1111"])]
)
def test_instances_of_a_divided_gpu_have_names_of_their_own(value, uuids):
    assert visible(value, DIVIDED) == uuids


@given(st.text(alphabet="0123456789,GPU-MIabc ", max_size=20))
def test_whatever_the_variable_holds_only_existing_gpus_are_visible_and_each_once(value):
    found = visible(value)
    assert len(found) == len(set(found))
    assert set(found) <= {one.uuid for one in WHOLE}


def test_finding_gpus_needs_neither_torch_nor_a_path():
    program = "import sys\nfrom kopt.device.hardware.gpus import find_gpus\nprint(find_gpus(), 'torch' in sys.modules)"
    environment = {"PATH": "/nonexistent", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split()[-1] == "False"


@pytest.mark.gpu
def test_finding_gpus_makes_no_cuda_context():
    program = (
        "from kopt.device.hardware.gpus import find_gpus\nfrom kopt.sandbox.environment import cuda_is_initialised\n"
        "assert find_gpus()[0].uuid.startswith(('GPU-', 'MIG-'))\nassert not cuda_is_initialised()\n"
        "import torch\nassert not cuda_is_initialised()\ntorch.zeros(1, device='cuda')\nassert cuda_is_initialised()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.gpu
def test_found_gpu_is_the_one_that_torch_sees():
    program = (
        "import torch\nproperties = torch.cuda.get_device_properties(0)\n"
        "print(properties.uuid, properties.major * 10 + properties.minor)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    uuid, arch = done.stdout.split()
    assert (f"GPU-{uuid}", int(arch)) in [(one.uuid, one.arch) for one in find_gpus()]
