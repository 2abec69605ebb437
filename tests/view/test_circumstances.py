"""How a run was started, who its proposers are, and on which sizes it judged."""

import json
import shlex
from dataclasses import replace

import pytest
import yaml

from kopt.config import Config
from kopt.device.cuda.verification.workload_names import of_distinct_names
from kopt.load_config import parse
from kopt.model.problem import Argument, Given, ProblemFacts, Workload
from kopt.model.verdict import Check
from kopt.run.started import Started
from kopt.run.value import Run
from kopt.run_settings import RunSettings
from kopt.view.circumstances import (
    call_of,
    command_again,
    named_workloads,
    proposers_in_words,
    workload_sizes,
    workload_titles,
)
from kopt.view.page import _configuration
from tests.view.hand_made_run import PROBLEM


def run_of(**settings):
    return Run("run", Config(**settings), problem=None, facts=None, device=None, taxonomy=(), rounds=())


def started(text):
    words = tuple(shlex.split(text))
    return Started(words=words, folder="/far", host="", moment=0, first=0, configuration={}, locked=False)


PLAIN = "snakemake --snakefile /far/Snakefile --cores 4 --resources gpu=1"
SNAKEMAKE = "snakemake --snakefile /far/Snakefile --cores 4 --quiet all --resources gpu=1"


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (f"{SNAKEMAKE} --config problem=softmax preset=beam_search 'models=[a, b]' run=first rounds=2 warm=true",
         "kopt run softmax --name run-again --preset beam_search 'models=[a, b]' rounds=2"),
        (f"{SNAKEMAKE} --config problem=mine preset=p models=[a] problems=/my --dry-run",
         "kopt run /my/mine --name run-again --preset p 'models=[a]'"),
        (f"{SNAKEMAKE} --forcerun finish --config rounds=2", f"{PLAIN} --config rounds=2 run=run-again"),
        (f"{SNAKEMAKE} --configfile=my.yaml --config problem=a preset=b models=[c]",
         f"{PLAIN} --configfile my.yaml --config problem=a preset=b 'models=[c]' run=run-again"),
        (f"{SNAKEMAKE} --rerun-incomplete", f"{PLAIN} --config run=run-again"),
    ],
)  # fmt: skip
def test_the_command_that_searches_again_says_all_that_was_given(words, command):
    assert command_again(started(words), run_of()) == command


def test_a_replay_and_a_run_without_a_record_have_no_command():
    assert command_again(started(SNAKEMAKE), run_of(judge="recorded")) == ""
    assert command_again(None, run_of()) == ""


@pytest.mark.parametrize(
    ("settings", "price", "words"),
    [
        ({"replies": "exchange"}, 0,
         "its replies were written by people or other programs, through the exchange folder; it has no price"),
        ({"replies": "live"}, 2.5,
         "api by the protocol openai; $2.5 for a million tokens of input, $2.5 of output"),
        ({"replies": "replay"}, 0, "its replies are replayed; no model was asked; it has no price"),
    ],
)  # fmt: skip
def test_a_model_is_told_by_who_answered_and_its_price(tmp_path, settings, price, words):
    entry = {"provider": "openai", "api_model": "api", "price": {"input": price, "output": price}}
    (tmp_path / "models.json").write_text(json.dumps({"models": {"m": entry}}))
    told = proposers_in_words(run_of(models=("m", "kopt-rewrite"), **settings), tmp_path)
    assert told["m"] == words
    assert told["kopt-rewrite"].startswith("kopt's own rewriter")


@pytest.mark.parametrize("text", ["", "[]", '{"models": []}', '{"models": {"m": {"price": "no"}}}'])
def test_a_table_of_models_that_cannot_be_read_leaves_no_page_unwritten(tmp_path, text):
    (tmp_path / "models.json").write_text(text)
    assert proposers_in_words(run_of(models=("m",)), tmp_path).keys() == {"m"}
    assert proposers_in_words(run_of(models=("m",)), tmp_path / "nowhere") == {"m": ""}


def test_workloads_are_named_as_the_judge_on_a_gpu_names_them():
    ragged, tiles = Workload(name="ragged", constants={"M": 3}), Workload(name="tiles")
    for hidden, small in ([(ragged,), (tiles, ragged)], [(), (ragged,)], [(tiles,), (tiles.model_copy(),)]):
        problem = PROBLEM.model_copy(update={"hidden": hidden, "small": small})
        judged = [[one.name for one in group] for group in of_distinct_names(problem)]
        named = named_workloads(problem, distinct=True)
        assert [[name for kind, name, _ in named if kind == one] for one in ("main", "hidden", "small")] == judged
        assert [name for _, name, _ in named_workloads(problem, distinct=False)][-1] == small[-1].name


@pytest.mark.parametrize("measures", [False, True])
def test_the_configuration_of_a_page_starts_the_same_run(measures):
    config = Config(problem="softmax", rounds=3, models=("kopt-rewrite",), judge="interpret", run="first")
    text = _configuration(config, measures=measures)
    assert parse(yaml.safe_load(text), "configuration") == config
    assert ("device:" in text) is not measures


@pytest.mark.parametrize(
    ("judge", "holds"), [("cuda", True), ("recorded", False), ("interpret", False), ("dry", False)]
)
def test_jobs_of_a_replay_hold_no_gpu(judge, holds):
    assert RunSettings(Config(judge=judge)).holds_gpus is holds


def test_a_workload_is_verified_where_a_check_names_it_and_small_ones_alone_without_a_gpu():
    ragged = Workload(name="ragged", constants={"M": 3})
    problem = PROBLEM.model_copy(update={"hidden": (ragged,), "small": (ragged,)})
    facts = ProblemFacts(dtype=problem.dtype, workloads=())
    check = Check(workload="ragged", distribution="normal", max_error=0.0, allowed=1.0)
    found = {}
    for judge, checks in (("interpret", [check]), ("cuda", [check]), ("recorded", [])):
        run = Run("run", Config(judge=judge), problem=problem, facts=facts, device=None, taxonomy=(), rounds=())
        sizes = workload_sizes(run, checks)[-2:]
        found[judge] = [(one.name, one.sizes, one.checked) for one in sizes]
        assert [one.title for one in sizes] == ["hidden ragged", "small ragged"]
    assert workload_titles(problem, distinct=False)["ragged"] == "small ragged"
    titles = workload_titles(problem, distinct=True)
    assert (titles["ragged"], titles["small ragged"]) == ("hidden ragged", "small ragged")
    assert found == {
        "interpret": [("ragged", "M=3", False), ("ragged", "M=3", True)],
        "cuda": [("ragged", "M=3", True), ("small ragged", "M=3", False)],
        "recorded": [("ragged", "M=3", None), ("small ragged", "M=3", None)],
    }


def test_a_call_gives_the_kernel_the_weights_of_the_model_and_what_else_it_asks_for():
    arguments = (
        Argument(name="x", is_input=True, dtype="bfloat16", shape=(4, 8)),
        Argument(name="eps", is_input=True, value="1e-06"),
        Argument(name="norm.weight", is_input=False, dtype="bfloat16", shape=(8,)),
    )
    facts = ProblemFacts(dtype=PROBLEM.dtype, workloads=(), given=(Given(workload="w", arguments=arguments),))
    run = replace(run_of(), problem=PROBLEM, facts=facts)
    entry = PROBLEM.seed.entry
    source = f"def {entry}(x, eps, norm_weight, factor, *, other=1):\n    return x\n"
    assert call_of(run, source) == f"y = {entry}(x, eps, norm_weight=model.norm.weight, factor=factor)"
