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

# Tests start hundreds of processes, each of which would compile kopt and digest its code anew.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=50)
settings.register_profile("random", derandomize=False, deadline=None, max_examples=2000, print_blob=True)
settings.load_profile("repeatable")  # pytest loads another one for --hypothesis-profile after this file


def has_gpu() -> bool:
    """Return whether the driver lists a GPU; nvidia-smi is asked, since torch would make a CUDA context here."""
    tool = shutil.which("nvidia-smi")
    return bool(tool) and subprocess.run([tool, "-L"], capture_output=True, check=False).stdout.startswith(b"GPU")


def pytest_collection_modifyitems(items):
    if not has_gpu():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skipif(True, reason="no GPU on this machine"))
