"""A seed is written for a GPU that is like the one at hand: what fills the memory of one does not fit another."""

from pathlib import Path

import pytest

from kopt.device.hardware.gpus import Gpu
from kopt.device.hardware.nearest import nearest
from kopt.jobs import made_seed
from kopt.jobs.made_seed import device_to_write_for
from kopt.load_config import described_devices

ROOT = Path(__file__).resolve().parents[2]
DESCRIBED = described_devices(ROOT)


def gpu(name, arch):
    return Gpu(uuid="GPU-1", name=name, memory_bytes=24 << 30, driver="580.1", arch=arch, index=0)


@pytest.mark.parametrize(
    ("name", "arch", "expected"),
    [
        ("NVIDIA H200", 90, "h200"),
        ("NVIDIA H100 PCIe", 90, "h100"),
        ("NVIDIA A100-SXM4-40GB", 80, "a100"),
        ("NVIDIA L40", 89, "l40s"),
        ("NVIDIA GeForce RTX 4080", 89, "rtx4090"),
        ("NVIDIA B200", 100, "b200"),
    ],
)
def test_the_nearest_device_has_the_compute_capability_and_a_like_name(name, arch, expected):
    assert nearest(gpu(name, arch), list(DESCRIBED.values())) == DESCRIBED[expected]


@pytest.mark.parametrize(("name", "arch"), [("NVIDIA A10", 86), ("NVIDIA GeForce RTX 5090", 120)])
def test_a_gpu_of_no_described_kind_gets_tiles_that_fit_most_likely(name, arch):
    least = min(device.shared_bytes_per_block for device in DESCRIBED.values())
    assert nearest(gpu(name, arch), list(DESCRIBED.values())).shared_bytes_per_block == least


def test_a_seed_is_written_for_the_gpu_at_hand_then_for_the_cluster_s_then_for_the_setting(monkeypatch):
    visible = []
    monkeypatch.setattr(made_seed, "visible_gpus", lambda environment: tuple(visible))
    assert device_to_write_for("l40s", ROOT, on_gpu=True) == DESCRIBED["l40s"]
    assert device_to_write_for("l40s", ROOT, on_gpu=True, model="A100") == DESCRIBED["a100"]
    assert device_to_write_for("l40s", ROOT, on_gpu=True, model="unheard_of") == DESCRIBED["l40s"]
    visible.append(gpu("NVIDIA H200", 90))
    assert device_to_write_for("l40s", ROOT, on_gpu=True, model="A100") == DESCRIBED["h200"]
    assert device_to_write_for("l40s", ROOT, on_gpu=False) == DESCRIBED["l40s"]
