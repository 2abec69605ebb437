"""Runs that record which modules of kopt their scripts load."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

RECORDING = Path(__file__).resolve().parent / "recording"


@contextmanager
def recorded(records: Path) -> Iterator[None]:
    """Record in a folder what the scripts of runs import; see `recording/sitecustomize.py`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KOPT_RECORDED", str(records))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(RECORDING), os.environ.get("PYTHONPATH", "")]))
        yield
