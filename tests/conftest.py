"""Set what all tests share: property tests that repeat, and GPU tests that run only where there is a GPU.

`make test` draws the same examples in every run, so that it fails only for what was changed.  `make test-random` draws
many more, new ones in every run, and prints what repeats a failing one.
"""

import os
import shutil
import subprocess
import sys

import pytest
from hypothesis import settings

from tests import forked_processes

# Tests start hundreds of processes, each of which would compile kopt and digest its code anew.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

FIRST = (
    "language", "dag", "cases", "recorded", "seeds", "rewrites", "bad", "killed", "tests/rewrite/test_propose.py",
    "tests/rewrite/test_structure.py", "planted", "chromium", "plan", "slurm", "interpreted kernels", "warm", "compare",
    "seedless", "features", "tests/commands/test_check.py", "tests/device/test_verify.py", "verdicts", "corpus",
    "tests/problem/test_sizes_together.py", "tests/rewrite/test_tune.py", "tests/device/test_build.py",
)  # fmt: skip
"""Groups that take longest, the longest first: one that began last would leave the other workers idle."""

settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=30)
settings.register_profile("random", derandomize=False, deadline=None, max_examples=2000, print_blob=True)
settings.load_profile("repeatable")  # pytest loads another one for --hypothesis-profile after this file


def has_gpu() -> bool:
    """Return whether the driver lists a GPU; nvidia-smi is asked, since torch would make a CUDA context here."""
    tool = shutil.which("nvidia-smi")
    return bool(tool) and subprocess.run([tool, "-L"], capture_output=True, check=False).stdout.startswith(b"GPU")


def pytest_addoption(parser):
    parser.addoption("--settings", default="", help="settings of searches, after those that a test gives: 'warm=true'")


def pytest_configure(config):
    if not has_gpu():  # on a GPU a process must not have been forked from one that has imported torch
        forked_processes.install()
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False  # the order is that of FIRST, not the number of a group's tests


def _turn(item) -> int:
    """The place of an item's group in `FIRST`; behind them all for an item of no such group."""
    mark = item.get_closest_marker("xdist_group")
    return FIRST.index(mark.args[0]) if mark and mark.args[0] in FIRST else len(FIRST)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items):
    items.sort(key=_turn)
    for item in items:
        if item.get_closest_marker("xdist_group") is None:  # a second worker would make its fixtures again
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
    if not has_gpu():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skipif(True, reason="no GPU on this machine"))
