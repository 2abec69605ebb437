from pathlib import Path

import pytest

from kopt.commands.parts.looked_at import run_folder, run_or_folder
from kopt.errors import ConfigError


@pytest.mark.parametrize("find", [run_folder, run_or_folder])
def test_a_problem_is_not_taken_for_its_run(find, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("router").mkdir()
    Path("router/problem.py").touch()
    run = Path("results/router-beam_search")
    run.mkdir(parents=True)
    (run / "manifest.json").touch()
    with pytest.raises(ConfigError, match="router holds no run: did you mean 'results/router-beam_search'"):
        find(Path("router"))
    assert find(Path("router-beam_search")) == run


def test_a_part_of_a_run_may_be_named(tmp_path):
    assert run_or_folder(tmp_path) == tmp_path
