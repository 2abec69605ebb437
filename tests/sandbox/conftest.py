import pytest

from kopt.sandbox.fresh import FreshProcess
from tests.forked_processes import REALLY


@pytest.fixture(autouse=True)
def real_processes(monkeypatch):
    """Processes of these tests are really fresh."""
    monkeypatch.setattr(FreshProcess, "__init__", REALLY)
