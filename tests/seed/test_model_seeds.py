"""Language models write first kernels, served by a local process: judged, sent back with errors, paid for once."""

import json
from pathlib import Path

import pytest
import yaml
from llm_servers import FaultServer, base_url
from seed_server import RIGHT, WRONG

from kopt.cli import main
from kopt.errors import SeedError
from kopt.llm.table import ModelTable
from kopt.preflight.model_seed import asker_in, cost_of, written_by_models
from kopt.problem.derive import with_workloads
from kopt.prompts.write_seed import FailedSeed
from kopt.store import Store
from tests.device.small import H100

HERE = Path(__file__).resolve().parent
PRICE = {"input": 2.0, "cached_input": 0.5, "cache_write": 2.5, "output": 10.0}
PROVIDERS = {"claude-local": "anthropic", "gpt-local": "openai", "chat-local": "openai-chat"}
REFERENCE = """
import torch
from torch import nn
# say-{}
N = 300
class Model(nn.Module):
    def forward(self, x):
        return x + x
def get_inputs():
    return [torch.randn(N, 7)]
def get_init_inputs():
    return []
"""

pytestmark = pytest.mark.xdist_group("seeds")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    started = FaultServer(tmp_path_factory.mktemp("seed_server") / "log.jsonl", program=HERE / "seed_server.py")
    yield started
    started.stop()


@pytest.fixture(scope="module")
def table(server):
    models = {
        name: {"provider": provider, "api_model": "m", "base_url": base_url(provider, server.port),
               "max_output_tokens": 2000, "price": PRICE}
        for name, provider in PROVIDERS.items()
    }  # fmt: skip
    return {"models": models | {"keyless": models["gpt-local"] | {"key_variable": "NO_SUCH_KEY"}}}


@pytest.fixture
def ask(tmp_path, table):
    """Ask models, with a judge that knows the right kernel; return the kernels, and what all replies have cost."""

    def judge(source):
        if source == RIGHT:
            return None
        return FailedSeed(phase="incorrect", reason="7 elements are wrong", draft=source)

    def run(told, *names, tries=3, budget=None):
        asker = asker_in(tmp_path / "double.seed", ModelTable.model_validate(table), Store(tmp_path / "store"), budget)
        problem = with_workloads("double", REFERENCE.format(told))
        found = written_by_models(problem, H100, names, asker=asker, tries=tries, judge=judge)
        return [(one.made_by, one.source) for one in found], cost_of(asker).paid_usd

    return run


@pytest.mark.parametrize(
    ("told", "name", "requests"),
    [("right", "claude-local", 1), ("wrong", "gpt-local", 2), ("no-code", "chat-local", 2)],
)
def test_a_kernel_that_is_wrong_goes_back_with_its_error_and_no_reply_is_paid_for_twice(
    ask, server, told, name, requests
):
    before = len(server.events("asked"))
    found, cost = ask(told, name)
    assert found == [(name, RIGHT)]
    assert cost > 0
    asked = server.events("asked")[before:]
    assert [one["repairs"] for one in asked] == [False, True][:requests]
    assert all(one["reference"] for one in asked)
    assert asked[-1]["draft"] is (told == "wrong")
    assert ask(told, name) == (found, cost)
    assert len(server.events("asked")) == before + requests


def test_each_model_writes_its_own_and_one_that_is_never_right_stops_at_its_tries(ask, server, capsys):
    found, _ = ask("right", *PROVIDERS)
    assert [name for name, _ in found] == list(PROVIDERS)
    before = len(server.events("asked"))
    assert ask("never", "gpt-local", tries=2)[0] == []
    assert len(server.events("asked")) == before + 2
    assert "gpt-local, try 2 of 2: incorrect: 7 elements are wrong" in capsys.readouterr().err


def test_without_money_nothing_is_asked(ask, server):
    before = len(server.events("asked"))
    assert ask("right: no money", "gpt-local", budget=0.0) == ([], 0.0)
    assert len(server.events("asked")) == before


@pytest.fixture
def seed(tmp_path, monkeypatch, table, capsys):
    """Run `kopt seed` of a reference that tells the server what to say; return status, JSON, and what it says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    Path("models.yaml").write_text(yaml.safe_dump(table))
    Path("double").mkdir()

    def run(told, *words):
        Path("double/problem.py").write_text(REFERENCE.format(told))
        status = main(["seed", "./double", "--models-file", "models.yaml", "--judge", "interpret", "--json", *words])
        answer, said = capsys.readouterr()
        return status, json.loads(answer), said

    return run


def none(*given, **named):
    raise SeedError("TorchInductor has no Triton for this")


def test_a_model_writes_the_seed_where_none_is_made_of_the_reference(seed, monkeypatch):
    monkeypatch.setattr("kopt.jobs.made_seed.seeds_of", none)
    status, answer, said = seed("right", "--model", "gpt-local", "-o", "kernel.py")
    assert status == 0, said
    assert (answer["made_by"], answer["source"], answer["file"]) == ("gpt-local", RIGHT, "kernel.py")
    assert answer["evaluated"]["status"] == "passed"
    assert answer["cost"] > 0
    assert Path("kernel.py").read_text() == RIGHT
    assert "none is made of the reference: TorchInductor has no Triton" in said


def test_a_model_that_is_never_right_leaves_the_seed_that_is_made_of_the_reference(seed):
    status, answer, said = seed("never", "--model", "gpt-local", "--tries", "1")
    assert (status, answer["tried"]) == (0, 1)
    assert answer["made_by"].startswith("TorchInductor")
    assert "gpt-local, try 1 of 1: incorrect" in said
    assert WRONG not in answer["source"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--model", "gpt"), "no provider for 'gpt'; did you mean 'gpt-local'?"),
        (("--model", "keyless"), "keyless needs a key in the environment variable NO_SUCH_KEY"),
        (("--model", "gpt-local", "--budget", "-1"), "'-1' is not a number of US dollars"),
        (("--model", "gpt-local", "--models-file", "none.yaml"), "none.yaml: cannot be read"),
    ],
)
def test_a_model_that_cannot_be_asked_is_refused_before_a_seed_is_made(seed, words, said):
    status, answer, _ = seed("right", *words)
    assert status == 2
    assert said in answer["error"]
    assert not Path("results").exists()
