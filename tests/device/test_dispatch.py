"""What our dispatch modes cost a process."""

import subprocess
import sys

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
