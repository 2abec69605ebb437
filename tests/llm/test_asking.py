"""Calls over the real protocols, with every kind of fault, against the fault-injecting server."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from llm_servers import PRICE, PROTOCOLS, request_to, table_for

from kopt.llm.ask import ask
from kopt.llm.ledger import Budget, Ledger
from kopt.llm.progress import Progress, progress_line
from kopt.llm.reply import Answered, Empty, NoReplyReason, Refused, Truncated, Unanswered, Usage, joined
from kopt.llm.request import Message, continued

TRANSIENT = ("409", "429", "429date", "500", "529", "cut", "garbage", "html", "early", "inner")


@pytest.fixture
def ask_one(plain_server, store, ledger, options):
    """Ask one thing of the plain server."""

    def ask_text(model, text, *, limits=None, **changes):
        table = table_for(plain_server.port, **changes)
        asked = {"it": request_to(table, model, text)}
        chosen = options.model_copy(update=limits or {})
        return ask(asked, table=table, store=store, ledger=ledger, options=chosen)["it"]

    return ask_text


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("model", PROTOCOLS)
class TestEachProtocol:
    def test_an_answer_comes_with_its_tokens_and_dollars(self, ask_one, model, stream):
        reply = ask_one(model, "slot-1", stream=stream)
        assert isinstance(reply, Answered)
        assert "def kernel_function" in reply.text
        assert "slot-1" in reply.text
        used = reply.usage
        assert (used.input, used.cached_input, used.cache_write, used.output) == (60, 40, 0, 20)
        assert used.dollars == pytest.approx((60 * 2.0 + 40 * 0.5 + 20 * 10.0) / 1e6)
        assert not used.estimated

    def test_a_refusal_a_cut_and_an_empty_reply_are_typed_and_paid(self, ask_one, model, stream):
        refused = ask_one(model, "slot-2 [[refuse]]", stream=stream)
        cut = ask_one(model, "slot-3 [[truncate]]", stream=stream)
        empty = ask_one(model, "slot-4 [[empty]]", stream=stream)
        assert isinstance(refused, Refused)
        assert isinstance(cut, Truncated)
        assert cut.text
        assert isinstance(empty, Empty)
        assert all(reply.usage.dollars > 0 for reply in (refused, cut, empty))

    def test_every_transient_fault_is_tried_again(self, ask_one, ledger, model, stream):
        faults = [fault for fault in TRANSIENT if stream or fault not in ("early", "inner")]
        limits = {"max_tries": 20, "backoff_seconds": 0.01, "backoff_cap_seconds": 0.02, "deadline_seconds": 5}
        reply = ask_one(model, f"slot-5 {model} {stream} [[{' '.join(faults)}]]", stream=stream, limits=limits)
        assert isinstance(reply, Answered)
        cost = ledger.cost()
        assert cost.calls == 1
        assert cost.lost + cost.turned_away == len(faults)
        assert cost.turned_away == 5

    def test_a_hang_and_a_slow_drip_end_at_the_deadline(self, ask_one, model, stream):
        limits = {"deadline_seconds": 0.4, "max_tries": 3, "backoff_seconds": 0.01}
        reply = ask_one(model, f"slot-6 {model} {stream} [[hang drip]]", stream=stream, limits=limits)
        assert isinstance(reply, Answered)

    def test_what_no_retry_mends_is_not_tried_again(self, ask_one, model, stream):
        kinds = {"400": NoReplyReason.REJECTED, "quota": NoReplyReason.QUOTA}
        for fault, kind in kinds.items():
            reply = ask_one(model, f"slot-7 {model} {stream} [[{fault}x9]]", stream=stream)
            assert isinstance(reply, Unanswered)
            assert (reply.reason, reply.tries) == (kind, 1)

    def test_a_prompt_that_the_filter_refuses_is_a_refusal(self, ask_one, model, stream):
        assert isinstance(ask_one(model, f"slot-8 {model} {stream} [[filterx9]]", stream=stream), Refused)

    def test_tries_are_bounded(self, ask_one, model, stream):
        limits = {"max_tries": 3, "backoff_seconds": 0.01}
        reply = ask_one(model, f"slot-9 {model} {stream} [[529x9]]", stream=stream, limits=limits)
        assert isinstance(reply, Unanswered)
        assert (reply.reason, reply.tries) == (NoReplyReason.SERVER, 3)


def test_a_server_that_asks_for_more_time_than_there_is_is_not_waited_for(ask_one):
    limits = {"give_up_seconds": 0.04, "backoff_seconds": 0.0}
    reply = ask_one("openai", "slot-10 [[429x9]]", limits=limits)
    assert isinstance(reply, Unanswered)
    assert (reply.reason, reply.tries) == (NoReplyReason.RATE, 1)


def test_a_server_that_is_not_there_costs_nothing(store, ledger, options):
    table = table_for(9)
    limits = {"max_tries": 2, "backoff_seconds": 0.01}
    asked = {name: request_to(table, name, "x") for name in PROTOCOLS}
    replies = ask(asked, table=table, store=store, ledger=ledger, options=options.model_copy(update=limits))
    assert {reply.reason for reply in replies.values()} == {NoReplyReason.CONNECTION}
    assert ledger.cost().paid_usd == 0


@pytest.mark.parametrize("model", PROTOCOLS)
def test_a_round_with_faults_in_a_third_of_its_calls_accounts_for_every_slot(serve, store, ledger, options, model):
    server = serve(rate=0.3, seed=3)
    table = table_for(server.port)
    asked = {f"s{n}": request_to(table, model, f"slot-{n}") for n in range(90)}
    seen: list[Progress] = []
    replies = ask(asked, table=table, store=store, ledger=ledger, options=options, on_progress=seen.append)
    assert list(replies) == list(asked)
    assert all(isinstance(replies[f"s{n}"], Answered) and f"slot-{n}'" in replies[f"s{n}"].text for n in range(90))
    assert server.served() == Counter(f"slot-{n}" for n in range(90))
    cost, arrived = ledger.cost(), server.arrived()
    assert cost.calls == 90
    assert cost.calls + cost.lost + cost.turned_away == arrived.total() > 100
    assert cost.input == 90 * 100
    assert cost.output == 90 * 20
    assert seen[-1].done == 90
    assert seen[-1].retries == arrived.total() - 90
    again = ask(asked, table=table, store=store, ledger=ledger, options=options)
    assert again == replies
    assert server.arrived() == arrived


def test_progress_is_told_in_lines_of_which_the_last_is_the_end(plain_server, store, ledger, options):
    table, lines = table_for(plain_server.port), list[str]()
    asked = {f"s{n}": request_to(table, "openai", f"slot-{200 + n}") for n in range(3)}
    with progress_line(lines.append, every_seconds=60) as on_progress:
        ask(asked, table=table, store=store, ledger=ledger, options=options, on_progress=on_progress)
    assert lines == ["replies 3/3: 3 answered, 0 known, 0 unusable, 0 missing, 0 retries, $0.00"]


def test_one_hanging_call_costs_its_own_slot_only(plain_server, store, ledger, options):
    table = table_for(plain_server.port)
    texts = ["slot-11 [[hangx9]]", *(f"slot-{n}" for n in range(12, 20))]
    limits = {"deadline_seconds": 1.0, "max_tries": 1}
    asked = {text: request_to(table, "openai", text) for text in texts}
    replies = ask(asked, table=table, store=store, ledger=ledger, options=options.model_copy(update=limits))
    assert [reply.status for reply in replies.values()] == ["unanswered"] + ["answered"] * 8


def test_equal_requests_are_asked_once_and_samples_are_not_equal(plain_server, store, ledger, options):
    table = table_for(plain_server.port)
    asked = {"a": request_to(table, "openai", "slot-21"), "b": request_to(table, "openai", "slot-21")}
    asked["c"] = request_to(table, "openai", "slot-21", sample=1)
    replies = ask(asked, table=table, store=store, ledger=ledger, options=options)
    assert replies["a"] == replies["b"]
    assert plain_server.arrived()["slot-21"] == 2
    assert ledger.cost().calls == 2


def test_two_runs_that_share_a_store_ask_a_request_once(serve, store, ledger, tmp_path, options):
    server, other = serve(latency=0.3), Ledger(tmp_path / "other" / "ledger.jsonl")
    table = table_for(server.port)
    asked = {f"s{n}": request_to(table, "openai", f"slot-{n}") for n in range(12)}
    with ThreadPoolExecutor() as pool:
        runs = [
            pool.submit(ask, asked, table=table, store=store, ledger=one, options=options) for one in (ledger, other)
        ]
    assert runs[0].result() == runs[1].result()
    assert server.arrived() == Counter(f"slot-{n}" for n in range(12))
    costs = ledger.cost(), other.cost()
    assert sum(cost.calls for cost in costs) == sum(cost.stored for cost in costs) == 12
    assert not list((store.root / "locks").rglob("*.lock"))


def test_no_more_calls_are_in_flight_than_the_limits_allow(serve, store, ledger, options):
    server = serve(latency=0.05)
    table = table_for(server.port, concurrency=4)
    asked = {f"s{n}": request_to(table, PROTOCOLS[n % 3], f"slot-{n}") for n in range(30)}
    ask(asked, table=table, store=store, ledger=ledger, options=options.model_copy(update={"concurrency": 6}))
    assert max(event["most_open"] for event in server.events("served")) <= 6 * 2


def test_an_unanswered_request_is_asked_again_by_a_later_run(ask_one):
    limits = {"max_tries": 1}
    assert ask_one("openai", "slot-22 [[500]]", limits=limits).status == "unanswered"
    assert ask_one("openai", "slot-22 [[500]]", limits=limits).status == "answered"


def test_the_call_cap_is_never_passed(serve, store, tmp_path, options):
    server = serve(rate=0.3, seed=5)
    table = table_for(server.port)
    ledger = Ledger(tmp_path / "ledger.jsonl", Budget(calls=10))
    asked = {f"s{n}": request_to(table, "openai", f"slot-{n}") for n in range(30)}
    replies = ask(asked, table=table, store=store, ledger=ledger, options=options)
    cost = ledger.cost()
    assert cost.calls + cost.lost == 10
    assert Counter(reply.status for reply in replies.values()) == {
        "answered": cost.calls,
        "unanswered": 30 - cost.calls,
    }
    assert {reply.reason for reply in replies.values() if isinstance(reply, Unanswered)} == {NoReplyReason.BUDGET}


def test_the_dollar_cap_is_never_passed_and_waits_for_calls_to_settle(plain_server, store, tmp_path, options):
    table = table_for(plain_server.port)
    asked = {f"s{n}": request_to(table, "openai-chat", f"slot-{100 + n}") for n in range(30)}
    worst, real = PRICE.worst(asked["s0"]), 340e-6
    ledger = Ledger(tmp_path / "ledger.jsonl", Budget(usd=worst * 1.01 + 9 * real))
    replies = ask(asked, table=table, store=store, ledger=ledger, options=options)
    answered = [reply for reply in replies.values() if isinstance(reply, Answered)]
    assert len(answered) == 10
    assert ledger.cost().paid_usd == pytest.approx(10 * real)


def test_a_truncated_reply_can_be_continued(ask_one, plain_server, store, ledger, options):
    table = table_for(plain_server.port)
    first = request_to(table, "anthropic", "slot-23 [[truncate]]")
    reply = ask({"it": first}, table=table, store=store, ledger=ledger, options=options)["it"]
    assert isinstance(reply, Truncated)
    rest = ask({"it": continued(first, reply)}, table=table, store=store, ledger=ledger, options=options)["it"]
    assert isinstance(rest, Answered)
    assert continued(first, reply).digest != first.digest
    whole = joined(reply, rest)
    assert isinstance(whole, Answered)
    assert whole.text.startswith(reply.text.rstrip())
    assert whole.usage.dollars == reply.usage.dollars + rest.usage.dollars


def test_a_reply_that_broke_off_before_its_first_word_cannot_be_continued():
    with pytest.raises(ValueError, match="nothing to continue"):
        continued(request_to(table_for(9), "openai", "x"), Truncated(text=" ", usage=Usage(), stop="length"))


def test_siblings_wait_until_the_shared_prefix_is_cached(serve, store, ledger, options):
    server = serve(latency=0.2)
    table = table_for(server.port)
    stable = "shared " * 1000
    asked = {}
    for n in range(6):
        messages = (Message(role="user", stable=stable, text=f"slot-{n}"),)
        asked[f"s{n}"] = table.request("anthropic", system="x", messages=messages, template="test/1")
    ask(asked, table=table, store=store, ledger=ledger, options=options)
    log = server.log.read_text().splitlines()
    assert '"slot-0"' in log[0]
    assert all('"slot-0"' not in line or "served" in line for line in log[1:])
    assert min(event["time"] for event in server.events("arrived")[1:]) - server.events("arrived")[0]["time"] >= 0.2
    assert ledger.cost().saved_usd == pytest.approx(6 * 40 * 1.5 / 1e6)
