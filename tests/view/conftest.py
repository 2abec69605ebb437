import pytest

from tests.view.hand_made_run import hand_made_run


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return hand_made_run(tmp_path)
