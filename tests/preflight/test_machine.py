"""Settings whose defaults depend on the machine, where jobs run on other machines."""

import pytest

from kopt.config import Config
from kopt.preflight.validate import for_this_machine, judge_note


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
