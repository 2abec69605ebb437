"""The check in a kernel's file runs by itself, without kopt."""

import re
import subprocess
import sys

from kopt.model.problem import Workload
from kopt.winner.standalone import standalone
from tests.device.small import SCALE
from tests.winner.test_winner import winner

REFERENCE = """
import torch

rows = 64

class Model(torch.nn.Module):
    def forward(self, logits):
        values, experts = torch.softmax(logits.float(), -1).topk(8)
        return values / values.sum(-1, keepdim=True), experts

def get_inputs():
    return [torch.randn(rows, 128)]

def get_init_inputs():
    return []
"""

KERNEL = """
import torch


def kernel_function(logits):
    values, places = logits.flip(-1).float().sort(dim=-1, descending=True, stable=True)
    return torch.softmax(values[..., :8], -1), 127 - places[..., :8] - int(len(logits) == 32)
"""

CPU = """
import time
import torch

class Event:
    def __init__(self, enable_timing): pass
    def record(self): self.at = time.perf_counter()
    def elapsed_time(self, other): return 1e3 * (other.at - self.at)

torch.cuda.is_available, torch.cuda.get_device_name = lambda: True, lambda: "the CPU"
torch.cuda.Event, torch.cuda.synchronize = Event, lambda: None
"""


def test_the_script_knows_which_indexes_ties_decide_on_a_cpu_in_place_of_a_gpu(tmp_path):
    sizes = tuple(Workload(name=name, constants={"rows": rows}) for name, rows in (("many", 64), ("few", 32)))
    problem = SCALE.model_copy(update={"reference": REFERENCE, "main": sizes, "hidden": (), "small": ()})
    text = standalone(winner(KERNEL, KERNEL, problem))
    for old, new in (
        ("if __name__ ==", f"{CPU}\nif __name__ =="),
        ('"cuda"', '"cpu"'),
        ("256 << 20", "1"),
        ("= 50", "= 5"),
    ):
        assert old in text
        text = text.replace(old, new)
    file = tmp_path / "best_kernel.py"
    file.write_text(text)
    without_kopt = f"import runpy, sys; sys.modules['kopt'] = None; runpy.run_path({str(file)!r}, run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", without_kopt],
        capture_output=True,
        text=True,
        env={"OMP_NUM_THREADS": "1", "HOME": "/tmp"},
    )
    assert (done.returncode, done.stderr) == (1, "")
    many, few = done.stdout.splitlines()[-2:]
    assert re.search(r"many .* ties or rounding decide \S+% of the whole numbers$", many)
    assert "WRONG" not in many
    assert re.search(r"few .* WRONG in \S+% of the whole numbers", few)
