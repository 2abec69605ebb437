"""Bodies in shapes that no protocol's page shows: read where they hold a reply, and counted whatever they hold."""

from __future__ import annotations

import time

import pytest
from llm_servers import PRICE, PROTOCOLS, request_to, table_for

from kopt.jobs.asker import cut_prompt_lines
from kopt.llm.ask import ask
from kopt.llm.ledger import Budget, Ledger
from kopt.llm.outcome import outcome
from kopt.llm.reply import Answered, NoReplyReason, Refused, Truncated, Unanswered
from kopt.llm.text.extract import Extracted, NoKernel, NotExtracted, kernel_of

LIMIT = 16_000
CALL = (60 * PRICE.input + 40 * PRICE.cached_input + LIMIT * PRICE.output) / 1e6
"""What a call costs whose body counts all the output that was asked for, US dollars."""


@pytest.fixture
def ask_all(plain_server, store, options):
    """Ask several things of the plain server, and return the replies."""

    def ask_texts(model, texts, ledger, **changes):
        table = table_for(plain_server.port, max_output_tokens=LIMIT, **changes)
        asked = {text: request_to(table, model, text + " of" * 200) for text in texts}
        return ask(asked, table=table, store=store, ledger=ledger, options=options)

    return ask_texts


each_way = pytest.mark.parametrize("stream", [True, False])
each_protocol = pytest.mark.parametrize("model", PROTOCOLS)


@each_way
@each_protocol
class TestEachProtocol:
    @pytest.mark.parametrize("shape", ["list", "unsaid", "json"])
    def test_an_odd_shape_that_holds_a_reply_is_the_reply(self, ask_all, ledger, model, stream, shape):
        text = f"slot-1 {model} {stream} [[{shape}]]"
        reply = ask_all(model, [text], ledger, stream=stream)[text]
        assert isinstance(reply, Answered)
        assert isinstance(kernel_of(reply, "kernel_function"), Extracted)
        assert ledger.cost().calls == 1
        assert ledger.cost().paid_usd == pytest.approx(CALL if shape != "unsaid" else 340e-6)

    def test_a_reply_without_a_count_costs_the_most_that_it_may(self, ask_all, ledger, model, stream):
        text = f"slot-2 {model} {stream} [[nocount]]"
        reply = ask_all(model, [text], ledger, stream=stream)[text]
        assert isinstance(reply, Answered)
        assert reply.usage.estimated
        assert reply.usage.dollars >= CALL

    def test_a_reply_of_reasoning_alone_says_what_to_do(self, ask_all, ledger, model, stream):
        text = f"slot-3 {model} {stream} [[thought]]"
        reply = ask_all(model, [text], ledger, stream=stream)[text]
        assert isinstance(reply, Truncated)
        found = kernel_of(reply, "kernel_function")
        assert isinstance(found, NotExtracted)
        assert found.reason is NoKernel.TRUNCATED
        assert found.detail.startswith(f"all {LIMIT} output tokens were spent on reasoning: raise max_output_tokens")

    @pytest.mark.parametrize("shape", ["unread", "unknown", "late502", "nocount", "list"])
    def test_the_dollar_cap_holds_whatever_a_paid_body_looks_like(
        self, ask_all, plain_server, tmp_path, model, stream, shape
    ):
        """Eight requests of up to 0.16 USD and six tries each, under a cap of 0.50 USD."""
        ledger = Ledger(tmp_path / "ledger.jsonl", Budget(usd=0.5))
        texts = [f"slot-4{n} {model} {stream} [[{shape}x9]]" for n in range(8)]
        before = plain_server.arrived().total()
        replies = ask_all(model, texts, ledger, stream=stream)
        billed = (plain_server.arrived().total() - before) * CALL
        assert billed <= ledger.cost().paid_usd + 1e-9 <= 0.5
        assert NoReplyReason.BUDGET in {r.reason for r in replies.values() if isinstance(r, Unanswered)}

    def test_an_error_that_turns_the_request_away_costs_nothing_and_is_tried_again(
        self, ask_all, ledger, model, stream
    ):
        text = f"slot-5 {model} {stream} [[late429x2]]"
        reply = ask_all(model, [text], ledger, stream=stream)[text]
        assert isinstance(reply, Answered)
        assert (ledger.cost().lost, ledger.cost().turned_away) == (0, 2)


@each_way
@each_protocol
def test_a_refusal_by_a_filter_whose_tokens_are_not_known_costs_the_most_that_it_may(ask_all, ledger, model, stream):
    text = f"slot-11 {model} {stream} [[latefilter]]"
    reply = ask_all(model, [text], ledger, stream=stream)[text]
    assert isinstance(reply, Refused)
    assert ledger.cost().paid_usd >= CALL


@each_protocol
def test_a_whole_body_in_an_unknown_shape_is_paid_by_its_count_and_not_asked_for_again(ask_all, ledger, model):
    text = f"slot-6 {model} [[unreadx9]]"
    reply = ask_all(model, [text], ledger, stream=False)[text]
    assert (reply.reason, reply.tries) == (NoReplyReason.PROTOCOL, 1)
    assert ledger.cost().lost_usd == pytest.approx(CALL)


def test_a_budget_that_failed_calls_spent_says_why_they_failed(ask_all, tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl", Budget(usd=0.2))
    text = "slot-7 [[late502x9]]"
    reply = ask_all("openai", [text], ledger)[text]
    assert reply.reason is NoReplyReason.BUDGET
    assert reply.detail.endswith("the call before it brought no reply (server: HTTP 502: from behind the gateway)")


@each_way
def test_a_server_that_wants_the_other_name_of_the_limit_gets_it(ask_all, plain_server, ledger, stream):
    texts = [f"slot-8{n} {stream} [[renamed renamed]]" for n in range(2)]
    first, second = (ask_all("openai-chat", [text], ledger, stream=stream)[text] for text in texts)
    assert isinstance(first, Answered)
    assert isinstance(second, Answered)
    assert ledger.cost().calls == 2


def test_a_further_field_that_is_null_removes_a_field(ask_all, plain_server, ledger):
    extra = {"max_tokens": None, "max_completion_tokens": LIMIT}
    text = "slot-9 [[renamed]]"
    assert isinstance(ask_all("openai-chat", [text], ledger, extra=extra)[text], Answered)
    assert plain_server.arrived()["slot-9"] == 1


def test_the_wait_that_gemini_writes_into_its_error_is_waited(ask_all, ledger):
    start, text = time.monotonic(), "slot-10 [[quotadelay]]"
    assert isinstance(ask_all("openai-chat", [text], ledger)[text], Answered)
    assert time.monotonic() - start >= 0.3


@pytest.mark.parametrize(("counted", "lines"), [(4096, 1), (7000, 0), (0, 0)])
def test_a_server_that_counts_far_fewer_tokens_than_were_sent_is_named(counted, lines):
    table = table_for(9)
    request = request_to(table, "openai-chat", "x = 1\n" * 6000)
    usage = {"prompt_tokens": counted, "completion_tokens": 5}
    choice = {"message": {"content": "x"}, "finish_reason": "stop"}
    reply = outcome({"choices": [choice], "usage": usage}, request, table.model("openai-chat"))
    told = cut_prompt_lines({"s": request}, {"s": reply})
    assert len(told) == lines
    assert all("counted 4096 input tokens where about 1" in line and "num_ctx" in line for line in told)
