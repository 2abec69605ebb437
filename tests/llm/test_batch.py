"""Rounds through the providers' batch APIs."""

from __future__ import annotations

import pytest
from llm_servers import PROTOCOLS, request_to, table_for

from kopt.llm.ask import replay
from kopt.llm.batch import ask_by_batch
from kopt.llm.ledger import Budget, Ledger
from kopt.llm.reply import NoReplyReason


@pytest.fixture
def batched(options, store, ledger, tmp_path):
    """Ask nine slots by batch, over all three protocols."""

    def run(server, *, limits=None, ledger=ledger, text="slot-{}", **changes):
        table = table_for(server.port, **changes)
        asked = {f"s{n}": request_to(table, PROTOCOLS[n % 3], text.format(n)) for n in range(9)}
        replies = ask_by_batch(
            asked,
            table=table,
            store=store,
            ledger=ledger,
            folder=tmp_path / "batches",
            options=options.model_copy(update=limits or {}),
        )
        return asked, replies

    return run


def test_every_slot_is_answered_at_the_batch_price_in_one_batch_a_model(batched, serve, store, ledger, tmp_path):
    server = serve()
    asked, replies = batched(server)
    assert all(f"slot-{n}'" in replies[f"s{n}"].text for n in range(9))
    assert all("\u2028" in reply.text for reply in replies.values())
    assert ledger.cost().calls == 9
    assert ledger.cost().paid_usd == pytest.approx(9 * (60 * 2.0 + 40 * 0.5 + 20 * 10.0) / 1e6 / 2)
    assert len(server.events("batch")) == 3
    assert ledger.outstanding() == []
    assert replay(asked, store=store) == replies
    assert not list((tmp_path / "batches").iterdir())
    batched(server)
    assert len(server.events("batch")) == 3


def test_a_run_that_gave_up_waiting_takes_its_batches_up_again(batched, serve, tmp_path):
    server = serve(looks=5)
    _, replies = batched(server, limits={"poll_seconds": 0.01, "wait_seconds": 0.001})
    assert {reply.reason for reply in replies.values()} == {NoReplyReason.DEADLINE}
    assert len(list((tmp_path / "batches").iterdir())) == 3
    _, replies = batched(server)
    assert {reply.status for reply in replies.values()} == {"answered"}
    assert len(server.events("batch")) == 3


def test_what_a_batch_failed_is_unanswered_and_free(batched, serve, ledger):
    _, replies = batched(serve(), text="slot-{} [[fail]]")
    assert {reply.reason for reply in replies.values()} == {NoReplyReason.SERVER}
    assert ledger.cost().paid_usd == 0
    assert ledger.outstanding() == []


def test_what_a_batch_brought_in_an_unknown_shape_is_paid_by_its_count_or_at_its_worst(batched, serve, ledger):
    server = serve()
    batched(server, text="slot-{} [[unread]]")
    assert ledger.cost().lost_usd == pytest.approx(9 * (60 * 2.0 + 40 * 0.5 + 20 * 10.0) / 1e6 / 2)
    batched(server, text="slot-{} [[unknown]]")
    assert ledger.cost().lost_usd > 9 * 1000 * 10.0 / 1e6 / 2
    assert (ledger.cost().lost, ledger.outstanding()) == (18, [])


def test_a_refused_key_frees_what_was_reserved(batched, serve, ledger, monkeypatch):
    monkeypatch.setenv("TEST_KEY", "plantedsecret0123456789")
    _, replies = batched(serve(key="other"), key_variable="TEST_KEY")
    assert {reply.reason for reply in replies.values()} == {NoReplyReason.KEY}
    assert "plantedsecret" not in repr(replies)
    assert ledger.cost().paid_usd == 0


def test_a_batch_keeps_to_the_budget(batched, serve, tmp_path):
    capped = Ledger(tmp_path / "capped.jsonl", Budget(calls=4))
    _, replies = batched(serve(), ledger=capped)
    assert sorted(reply.status for reply in replies.values()) == ["answered"] * 4 + ["unanswered"] * 5
    assert capped.cost().calls == 4
