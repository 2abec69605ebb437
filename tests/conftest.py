"""What all tests share: no test depends on timing, and GPU tests run only where there is a GPU."""

import shutil
import subprocess

import pytest
from hypothesis import settings

settings.register_profile("kopt", deadline=None, max_examples=50)
settings.load_profile("kopt")


def has_gpu() -> bool:
    """Whether the driver lists a GPU; asked without torch, so that no CUDA context is made here."""
    tool = shutil.which("nvidia-smi")
    return bool(tool) and subprocess.run([tool, "-L"], capture_output=True, check=False).stdout.startswith(b"GPU")


def pytest_collection_modifyitems(items):
    if not has_gpu():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skipif(True, reason="no GPU on this machine"))
