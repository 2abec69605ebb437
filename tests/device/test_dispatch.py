"""What watching and running references costs a process: no import of torch's compiler, and no calls kept for GPUs."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kopt.device.reference.seeding import seed_random

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import sys
import torch
from kopt.device.reference.dispatch import DispatchMode

class Counting(DispatchMode):
    seen = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        Counting.seen += 1
        return func(*args, **(kwargs or {}))

with Counting():
    torch.ones(3).sum()
print(Counting.seen > 0, "torch._dynamo" in sys.modules)
"""


def test_a_mode_sees_operations_and_imports_no_compiler():
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["True", "False"]


MEANT_FOR_META = """
import sys
import torch
from tests.device.small import SCALE
from kopt.device.reference.trial import try_sizes

queued = len(torch.cuda._queued_calls)
print(try_sizes(SCALE, {"rows": 4}).inputs, "torch._dynamo" in sys.modules, len(torch.cuda._queued_calls) - queued)
compiled = torch.compile(lambda x: torch.nn.functional.softmax(x * 2, dim=-1), backend="eager")
print(compiled(torch.zeros(2)).tolist(), "torch._dynamo" in sys.modules)
print(try_sizes(SCALE, {"rows": 8}).inputs)
"""


def test_a_reference_runs_on_meta_tensors_without_the_compiler_and_as_well_once_it_is_loaded():
    ended = subprocess.run([sys.executable, "-c", MEANT_FOR_META], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ended.stdout.splitlines() == ["((4, 512),) False 0", "[0.5, 0.5] True", "((8, 512),)"]


@pytest.mark.parametrize("seed", [0, 7, 2**63 - 1])
def test_numbers_are_those_of_manual_seed(seed):
    torch.manual_seed(seed)
    expected = torch.rand(3)
    torch.manual_seed(1)
    seed_random(seed)
    assert torch.equal(torch.rand(3), expected)
