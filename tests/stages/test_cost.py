"""What the command line says of costs, replies and models before and after a run."""

from __future__ import annotations

import json

import pytest
import yaml
from llm_servers import FaultServer, request_to, table_for

from kopt import cli
from kopt.commands.pack import pack_run
from kopt.commands.parts.run_cost import run_cost
from kopt.config import Config
from kopt.errors import ConfigError
from kopt.jobs.asker import Asker
from kopt.llm.ask import ask, replies_of
from kopt.llm.ledger import Ledger
from kopt.llm.pack import unpack
from kopt.llm.request import key_of
from kopt.model.asking import CallOptions
from kopt.run_settings import RunSettings
from kopt.store import Store


def asking(**settings):
    """How replies come to a run that asks a language model."""
    return RunSettings(Config(models=("m",), **settings)).asking


def said(capsys, *words):
    status = cli.main(list(words))
    out = capsys.readouterr()
    return status, out.out + out.err


def test_a_preset_s_cost_is_the_sum_over_purposes_and_models(capsys):
    status, text = said(capsys, "cost", "--preset", "beam_search_diverse_clustered")
    assert status == 0
    assert [line.split()[:3] for line in text.splitlines() if line.startswith(("propose", "classify"))] == [
        ["propose", "claude-opus-4.6", "240"],
        ["propose", "gpt-5-4", "240"],
        ["propose", "gemini-2-5-pro", "240"],
        ["classify", "claude-opus-4.6", "721"],
    ]
    assert text.splitlines()[10].startswith("total")
    assert "guesses and not measured" in text
    assert ": propose 9000 in, 8000 out; repair" in text


def test_a_run_without_language_models_costs_nothing(capsys):
    assert said(capsys, "cost", "--preset", "beam_search", "--config", "models=[kopt-rewrite]")[1].endswith("$0.00\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("cost", "--config", "models=[gpt-6]"), "no provider for 'gpt-6'; did you mean 'gpt-5'?"),
        (("cost", "--preset", "beam_serch"), "did you mean 'beam_search'?"),
        (("cost", "--run", "nowhere"), "there is no run 'nowhere'"),
        (("pack", "nowhere", "-o", "x.tar"), "there is no run 'nowhere'"),
    ],
)
def test_what_cannot_be_found_is_one_line(capsys, words, message):
    status, text = said(capsys, *words)
    assert status == 2
    assert message in text
    assert len(text.splitlines()) == 1


@pytest.fixture
def server(tmp_path):
    server = FaultServer(tmp_path / "log.jsonl", "--models", "served")
    yield server
    server.stop()


def test_a_run_s_bill_and_its_packed_replies(capsys, server, tmp_path):
    run, table = tmp_path / "run", table_for(server.port)
    asked = {f"r1a0s{n}": request_to(table, "openai", f"slot-{n}") for n in range(3)}
    ask(asked, table=table, store=Store(tmp_path / "store"), ledger=Ledger(run / "ledger.jsonl"), options=CallOptions())
    words = ("cost", "--run", str(run))
    lines = [line.split() for line in said(capsys, *words, "--slots")[1].splitlines()]
    usd = f"${3 * (60 * 2.0 + 40 * 0.5 + 20 * 10.0) / 1e6:.4f}"
    row = ["3", "0", "300", "120", "60", "15", usd]
    assert [line[-7:] for line in lines if line[:1] == ["openai"] or line[:2] == ["1", "propose"]] == [row, row]
    assert ["total", *row] in lines
    assert [line[:2] for line in lines if line and line[0].startswith("r1s")] == [[f"r1s{n}", "1"] for n in range(3)]
    assert ["prompt", "caching", "saved", "$0.0002"] in lines
    told = json.loads(said(capsys, *words, "--json")[1])
    assert (told["total"]["cached"], told["replayed"], len(told["labels"])) == (120, False, 3)
    assert said(capsys, "pack", str(run), "--store", f"{tmp_path}/store", "-o", f"{tmp_path}/a.tar")[0] == 0
    assert said(capsys, "unpack", f"{tmp_path}/a.tar", "--store", f"{tmp_path}/other")[1].startswith("3 replies")
    assert all(replies_of(Store(tmp_path / "other")).get(key_of(request)) for request in asked.values())


def test_a_run_of_known_replies_paid_nothing_and_says_so(capsys, server, tmp_path):
    table, store = table_for(server.port), Store(tmp_path / "store")
    asked = {"r1a0s0": request_to(table, "openai", "one"), "r1d0": request_to(table, "openai", "two")}
    for run in ("first", "again"):
        ask(asked, table=table, store=store, ledger=Ledger(tmp_path / run / "ledger.jsonl"), options=CallOptions())
    first, again = (run_cost(tmp_path / run) for run in ("first", "again"))
    assert (first.replayed, again.replayed, again.total.paid_usd) == (False, True, 0.0)
    assert again.total.stored_usd == pytest.approx(first.total.paid_usd)
    assert (again.total.input, again.total.output) == (first.total.input, first.total.output)
    assert list(again.by_round_and_purpose) == ["1 propose", "1 diagnose"]
    assert "replayed: nothing was paid" in said(capsys, "cost", "--run", str(tmp_path / "again"))[1]


def test_a_packed_run_lacks_elsewhere_what_it_lacked_here(server, tmp_path):
    table, here, there = table_for(server.port), Store(tmp_path / "here"), Store(tmp_path / "there")
    asked = {f"r1a0s{n}": request_to(table, "openai", f"slot-{n} {order}") for n, order in enumerate(("", "[[400]]"))}
    live = Asker(asking(), table, here, tmp_path / "run").ask(asked)
    assert [reply.status for reply in live.values()] == ["answered", "unanswered"]
    assert pack_run(tmp_path / "run", here, tmp_path / "a.tar").replies == 1
    packed = (tmp_path / "a.tar").read_bytes()
    with pytest.raises(ConfigError, match="is whole: kopt store"):
        pack_run(tmp_path / "run", Store(tmp_path / "empty"), tmp_path / "a.tar")
    assert (tmp_path / "a.tar").read_bytes() == packed  # a pack that fails costs no earlier archive
    assert unpack(tmp_path / "a.tar", there).replies == 1
    assert Asker(asking(replies="replay"), table, there, tmp_path / "other").ask(asked) == live


def test_a_round_by_batch_costs_half_and_forgets_its_batch(server, tmp_path):
    table, store = table_for(server.port), Store(tmp_path / "store")
    asked = {f"r1a0s{n}": request_to(table, "anthropic", f"slot-{n}") for n in range(2)}
    replies = Asker(asking(delivery="batch", llm={"poll_seconds": 0.01}), table, store, tmp_path / "run").ask(asked)
    direct = Asker(asking(), table, Store(tmp_path / "direct"), tmp_path / "other").ask(asked)
    paid, full = (sum(reply.usage.dollars for reply in found.values()) for found in (replies, direct))
    assert paid == pytest.approx(full / 2)
    assert list((tmp_path / "run" / "batches").iterdir()) == []


def test_the_doctor_names_models_that_a_server_does_not_list(capsys, monkeypatch, server, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    entries = table_for(server.port).model_dump()["models"]
    entries["openai"]["api_model"] = "serve"
    (tmp_path / "models.yaml").write_text(yaml.safe_dump({"models": {"mine": entries["openai"]}}))
    status, text = said(capsys, "doctor", "--config", "models=[mine]", f"models_file={tmp_path}/models.yaml")
    assert status == 1
    assert "does not list the model 'serve'; did you mean 'served'?" in text


def test_the_doctor_has_nothing_to_say_of_a_run_without_language_models(capsys, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    status, text = said(capsys, "doctor")
    assert status == 0
    assert text.splitlines()[-1] == "models: no language model is asked"


def test_language_models_take_over_only_where_a_run_has_some():
    clustered = {"enabled": True, "classifier_model": "c"}
    some = RunSettings(Config(models=("m", "kopt-rewrite"), technique_clustering=clustered))
    none = RunSettings(Config(models=("kopt-rewrite",), technique_clustering=clustered))
    assert (some.classifier, some.diagnoser, some.reflector, some.asked_models) == ("c", "m", "m", ("c", "m"))
    assert (none.classifier, none.diagnoser, none.reflector, none.asked_models) == ("", "", "", ())
