"""Settings whose defaults depend on the machine, where jobs run on other machines."""

from pathlib import Path

import pytest

from kopt.config import Config
from kopt.errors import ConfigError
from kopt.preflight.start import check_gpu
from kopt.preflight.validate import Checked, for_this_machine, judge_note


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def test_jobs_that_are_submitted_judge_larger_chunks():
    assert for_this_machine(Config()).chunk_size == 32
    assert for_this_machine(Config(), submits=True).chunk_size == 64
    assert for_this_machine(Config(chunk_size=7), submits=True).chunk_size == 7


def test_a_machine_that_decides_for_others_says_so():
    config = for_this_machine(Config(), submits=True)
    assert config.judge == "interpret"
    assert judge_note({}, config) == judge_note({"judge": "auto"}, config)
    assert "judge=cuda" in judge_note({}, config)
    assert judge_note({"judge": "interpret"}, config) == ""


def test_a_run_on_gpus_does_not_begin_on_a_machine_that_shows_none(tmp_path):
    measured = Checked(Config(problem="softmax", run="r", results=str(tmp_path), judge="cuda"), Path())
    with pytest.raises(ConfigError, match="judge=cuda, but this machine shows no GPU"):
        check_gpu(measured, ["snakemake", "--config", "judge=cuda"])
    check_gpu(measured, ["snakemake", "--dry-run", "--config", "judge=cuda"])
    estimated = Checked(Config(problem="softmax", run="r", results=str(tmp_path), judge="interpret"), Path())
    check_gpu(estimated, ["snakemake", "--config", "judge=interpret"])
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "device.json").write_text("{}")  # its next steps may need no GPU
    check_gpu(measured, ["snakemake", "--config", "judge=cuda"])
