"""Seeds are made in one process with one thread, however many cores the machine has."""

from __future__ import annotations

import os
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from kopt.load_config import load_device
from kopt.model.kernel import Kernel
from kopt.model.problem import Dtype, Problem, Workload
from kopt.sandbox.environment import NO_GPU
from kopt.sandbox.fresh import run_with_environment

CORES = 64
PRODUCT = """
import torch
class Model(torch.nn.Module):
    def forward(self, x, y):
        return x @ y
def get_inputs():
    return [torch.randn(256, 512), torch.randn(512, 384)]
def get_init_inputs():
    return []
"""
WISHES = {
    "TORCHINDUCTOR_COMPILE_THREADS": str(CORES), "TORCHINDUCTOR_AUTOTUNE_IN_SUBPROC": "1",
    "TORCHINDUCTOR_PIPELINE_GEMM_AUTOTUNING": "1",
}  # fmt: skip
"""Variables by which a user wants processes of TorchInductor."""
STARTS = {"_thread.start_new_thread", "os.fork", "os.forkpty", "os.posix_spawn", "subprocess.Popen"}
"""What Python calls the beginning of a thread or a process in its audit events."""


class LaterPython:
    """The module `sys` of a Python in which TorchInductor compiles choices: up to 3.11.8 it compiles none."""

    version_info = namedtuple("version_info", "major minor micro")(3, 12, 1)

    def __getattr__(self, name: str) -> Any:
        return getattr(sys, name)


def started_for_a_product(folder: Path) -> list[str]:
    """Return what begins while the seed of a product is written, in a process that sees many cores."""
    from kopt.seed.make import import_inductor, write_seeds

    os.sched_getaffinity = lambda pid: set(range(CORES))
    os.cpu_count = lambda: CORES
    device = load_device("h100", Path(__file__).resolve().parents[2])
    begun: list[str] = []
    sys.addaudithook(lambda event, arguments: begun.append(event) if event in STARTS else None)
    import_inductor(device)
    sys.modules["torch._inductor.select_algorithm"].sys = LaterPython()
    problem = Problem(
        name="product", reference=PRODUCT, seed=Kernel(source=""), dtype=Dtype.FLOAT32,
        main=(Workload(name="given"),), small=(Workload(name="small"),),
    )  # fmt: skip
    (seed,) = write_seeds(problem, device, 1, folder)
    assert "BLOCK_K" in seed.source
    return begun


@pytest.mark.xdist_group("seeds")
def test_the_seed_of_a_product_starts_no_process_and_no_thread_on_many_cores(tmp_path: Path) -> None:
    assert run_with_environment({**NO_GPU, **WISHES}, 120.0, started_for_a_product, tmp_path) == []
