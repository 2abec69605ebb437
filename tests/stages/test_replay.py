"""What `kopt replay` puts in place before Snakemake runs."""

import hashlib
from pathlib import Path

import pytest
import yaml

from kopt import cli
from kopt.artifact import canonical_json, read_value
from kopt.commands.replay import prepare
from kopt.errors import ConfigError
from kopt.llm.ask import replies_of
from kopt.llm.pack import pack
from kopt.llm.packed import Recording
from kopt.llm.reply import Answered, Usage
from kopt.llm.request import Message, key_of
from kopt.llm.table import Model, ModelTable, Price
from kopt.model.proposers import EarlierRuns
from kopt.store import Store

PRICE = Price(input=1.0, cached_input=0.1, cache_write=1.0, output=5.0)
TABLE = ModelTable(models={"m": Model(provider="openai", api_model="m", base_url="http://127.0.0.1:1", price=PRICE)})
REQUEST = TABLE.request("m", system="", messages=(Message(role="user", text="x"),), template="t")
RECORDING = Recording(
    run="first", settings={"problem": "p", "rounds": 2, "judge": "dry", "results": "/elsewhere", "budget_usd": None},
    models=TABLE, problem={"problem.py": "a", "kernel.py": "b", "problem.yaml": "c"},
)  # fmt: skip


def archived(folder, recording=RECORDING):
    store = Store(folder / "store")
    replies_of(store).put(key_of(REQUEST), Answered(text="hello", usage=Usage(), stop="stop"))
    pack(store, [REQUEST.digest], folder / "a.tar", None, recording)
    return folder / "a.tar"


def test_settings_models_problem_and_replies_lie_where_the_replay_looks_for_them(tmp_path):
    results, store = tmp_path / "results", tmp_path / "elsewhere"
    settings = yaml.safe_load(prepare(archived(tmp_path), store, results).read_text())
    assert {name: settings[name] for name in ("problem", "rounds", "judge", "replies", "run")} == {
        "problem": "p", "rounds": 2, "judge": "dry", "replies": "replay", "run": "first",
    }  # fmt: skip
    assert settings["results"] == str(results)
    assert "budget_usd" not in settings
    assert settings["learning"] is False, "an archive from before the rewriter learned is replayed without learning"
    assert (results / "first.replay/problems/p/kernel.py").read_text() == "b"
    assert ModelTable.model_validate(yaml.safe_load((results / "first.replay/models.yaml").read_text())) == TABLE
    assert replies_of(Store(store)).get(key_of(REQUEST)).text == "hello"


def test_a_replay_takes_along_what_the_recorded_run_took(tmp_path):
    experience = EarlierRuns(problem="p", kind="keeping", runs=())
    archive = archived(tmp_path, RECORDING.model_copy(update={"experience": experience}))
    settings = yaml.safe_load(prepare(archive, tmp_path / "elsewhere", tmp_path / "results").read_text())
    assert read_value(Path(settings["experience"]), EarlierRuns) == experience
    without = yaml.safe_load(prepare(archived(tmp_path), tmp_path / "elsewhere", tmp_path / "others").read_text())
    assert without["experience"] == "none"


def test_an_interrupted_replay_goes_on_and_another_run_is_left_alone(tmp_path):
    archive, results = archived(tmp_path), tmp_path / "results"
    prepare(archive, tmp_path / "elsewhere", results)
    (results / "first").mkdir()
    prepare(archive, tmp_path / "elsewhere", results)
    (results / "second").mkdir()
    with pytest.raises(ConfigError, match="second exists and is not a replay"):
        prepare(archive, tmp_path / "elsewhere", results, "second")


def test_an_archive_without_its_run_says_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match="holds replies only: kopt unpack"):
        prepare(archived(tmp_path, None), tmp_path / "elsewhere", tmp_path / "results")


def test_what_is_no_archive_is_one_line(tmp_path, capsys):
    (tmp_path / "x").write_text("no archive")
    assert cli.main(["replay", str(tmp_path / "x"), "--results", str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_changed_recording_is_noticed(tmp_path):
    content = archived(tmp_path).read_bytes()
    told = canonical_json(RECORDING).encode()
    assert hashlib.sha256(told).hexdigest().encode() in content
    (tmp_path / "b.tar").write_bytes(content.replace(b'"rounds":2', b'"rounds":3'))
    assert cli.main(["replay", str(tmp_path / "b.tar"), "--results", str(tmp_path / "r")]) == 2
    assert not (tmp_path / "r").exists()
