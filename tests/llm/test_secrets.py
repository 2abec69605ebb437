"""Keys stay in the environment: none is ever written, whatever a server says."""

from __future__ import annotations

import logging

import pytest
from llm_servers import PROTOCOLS, request_to, table_for

from kopt import artifact
from kopt.llm.ask import ask
from kopt.llm.client import Clients, scrub
from kopt.llm.doctor import check_online
from kopt.llm.exchange import exchange
from kopt.llm.reply import NoReplyReason
from kopt.model.asking import CallOptions

PLANTED = "plantedsecret0123456789"
SHAPED = "sk-ant-api03-abcdefghijklmnop"


@pytest.fixture
def files(tmp_path):
    """Everything that was written, as one text, the servers' own logs apart."""

    def read() -> str:
        written = [path for path in tmp_path.rglob("*") if path.is_file() and not path.name.startswith("server")]
        assert written
        return "\n".join(path.read_text(errors="replace") for path in written)

    return read


@pytest.mark.parametrize("key", [PLANTED, SHAPED])
def test_a_refused_key_is_named_by_its_variable_and_never_shown(
    serve, store, ledger, options, tmp_path, monkeypatch, caplog, capsys, files, key
):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("TEST_KEY", key)
    table = table_for(serve(key="the-right-one").port, key_variable="TEST_KEY")
    asked = {name: request_to(table, name, "slot-1") for name in PROTOCOLS}
    replies = ask(asked, table=table, store=store, ledger=ledger, options=options)
    assert {reply.reason for reply in replies.values()} == {NoReplyReason.KEY}
    assert all(reply.tries == 1 for reply in replies.values())
    artifact.write_text(tmp_path / "replies.txt", repr(replies))
    artifact.write_value(tmp_path / "models.json", table)
    lines = [finding.line for finding in check_online(table, PROTOCOLS)]
    assert len(lines) == 3
    assert all("TEST_KEY" in line for line in lines)
    exchange(asked, table=table, store=store, ledger=ledger, folder=tmp_path / "exchange")
    out = capsys.readouterr()
    assert key not in files() + repr(replies) + caplog.text + out.out + out.err + repr(lines)


def test_a_key_that_works_is_nowhere_but_in_the_call(serve, store, ledger, options, monkeypatch, caplog, files):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("TEST_KEY", PLANTED)
    table = table_for(serve(key=PLANTED).port, key_variable="TEST_KEY")
    asked = {name: request_to(table, name, f"slot-1 {name} [[500 cut]]") for name in PROTOCOLS}
    replies = ask(asked, table=table, store=store, ledger=ledger, options=options)
    assert {reply.status for reply in replies.values()} == {"answered"}
    assert PLANTED not in files() + repr(replies) + caplog.text
    assert PLANTED not in repr(Clients(CallOptions(), 1, {"TEST_KEY": PLANTED}))


def test_a_reply_that_echoes_the_key_is_kept_without_it(plain_server, store, ledger, options, monkeypatch, files):
    monkeypatch.setenv("TEST_KEY", "kernel_function")
    table = table_for(plain_server.port, key_variable="TEST_KEY")
    asked = {name: request_to(table, name, "slot-31") for name in PROTOCOLS}
    ask(asked, table=table, store=store, ledger=ledger, options=options)
    assert "def [key](x)" in files()
    assert "kernel_function" not in files()


def test_a_key_that_is_not_set_costs_no_call(plain_server, store, ledger, options, monkeypatch):
    monkeypatch.delenv("TEST_KEY", raising=False)
    table = table_for(plain_server.port, key_variable="TEST_KEY")
    reply = ask(
        {"it": request_to(table, "openai", "slot-32")}, table=table, store=store, ledger=ledger, options=options
    )["it"]
    assert (reply.reason, "TEST_KEY" in reply.detail) == (NoReplyReason.KEY, True)
    assert "slot-32" not in plain_server.arrived()


def test_text_of_a_key_s_shape_is_scrubbed():
    text = scrub("bad sk-proj-abc123def456, AIzaSyA1234567890abc and Bearer abcdef.ghi", [])
    assert text == "bad [key], [key] and [key]"
