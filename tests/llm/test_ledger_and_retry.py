"""Budgets over kills and processes, and when to try again."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_servers import PRICE, request_to, table_for

from kopt.llm.ask import ask, replies_of
from kopt.llm.faults import fault_of, status_fault
from kopt.llm.ledger import Budget, Ledger
from kopt.llm.provider import Arrival, HttpError
from kopt.llm.reply import Answered, NoReplyReason, Usage
from kopt.llm.request import key_of
from kopt.llm.retry import retry_after, wait_seconds
from kopt.model.asking import CallOptions
from kopt.model.cost import Cost

TABLE = table_for(9)
ONE, TWO = request_to(TABLE, "openai", "one"), request_to(TABLE, "openai", "two")
DATE_PARTS = (
    "Sun,", "Mar", "01", "31", "2026", "0001", "9999", "99999999999999999999", "11:00:00", "99:99:99", "12:00", "GMT",
    "EST", "+9999", "-2359", "-0000", ",", "-", "/", "(", "²", "０１", "",
)  # fmt: skip
NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


BODIES = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


class TestLedger:
    def test_what_one_process_wrote_another_reads(self, tmp_path):
        first, second = Ledger(tmp_path / "l"), Ledger(tmp_path / "l")
        call = first.reserve(ONE, "s1", PRICE)
        first.settle(call, "answered", Usage(input=7, dollars=0.5))
        second.refresh()
        assert second.cost() == first.cost() == Cost(calls=1, input=7, paid_usd=0.5)

    def test_a_cap_counts_the_calls_of_other_processes(self, tmp_path):
        first, second = (Ledger(tmp_path / "l", Budget(calls=1)) for _ in range(2))
        assert first.reserve(ONE, "s1", PRICE) is not None
        assert second.reserve(TWO, "s2", PRICE) is None

    def test_calls_that_were_turned_away_free_their_reservation(self, tmp_path):
        ledger = Ledger(tmp_path / "l", Budget(calls=1, usd=PRICE.worst(ONE)))
        call = ledger.reserve(ONE, "s1", PRICE)
        ledger.release(call, NoReplyReason.RATE, billed=False, dollars=0)
        assert ledger.reserve(ONE, "s1", PRICE) is not None

    def test_a_call_in_flight_at_a_kill_counts_at_its_worst(self, tmp_path):
        Ledger(tmp_path / "l").reserve(ONE, "s1", PRICE)
        later = Ledger(tmp_path / "l", Budget(calls=1))
        assert later.reserve(TWO, "s2", PRICE) is None
        assert later.cost().lost_usd == PRICE.worst(ONE)

    def test_a_reply_that_was_kept_just_before_a_kill_is_settled_at_the_next_start(self, tmp_path, store, options):
        Ledger(tmp_path / "l").reserve(ONE, "s1", PRICE)
        replies_of(store).put(key_of(ONE), Answered(text="x", usage=Usage(dollars=0.25), stop="stop"))
        later = Ledger(tmp_path / "l")
        ask({"s1": ONE}, table=TABLE, store=store, ledger=later, options=options)
        assert later.cost() == Cost(calls=1, paid_usd=0.25)
        assert later.outstanding() == []

    def test_a_torn_last_line_is_passed_over(self, tmp_path):
        first = Ledger(tmp_path / "l")
        first.enter(ONE, "s1", "answered", Usage(dollars=1))
        with (tmp_path / "l").open("ab") as file:
            file.write(b'{"event": "rese')
        later = Ledger(tmp_path / "l")
        later.enter(TWO, "s2", "answered", Usage(dollars=2))
        last = Ledger(tmp_path / "l")
        last.refresh()
        assert last.cost().paid_usd == 3

    def test_a_known_reply_is_counted_once_by_whatever_jobs_it_is_shared(self, tmp_path):
        first, second = Ledger(tmp_path / "l"), Ledger(tmp_path / "l")
        for ledger, label in ((first, "r0c0"), (first, "r0c1"), (second, "r1c0")):
            ledger.reuse(ONE, label, Usage(input=7, dollars=0.5))
        assert second.cost() == Cost(stored=1, input=7, stored_usd=0.5)
        assert [line.label for line in second.lines()] == ["r0c0"]

    @given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), max_size=12))
    def test_the_running_sums_equal_the_cost(self, tmp_path_factory, steps):
        ledger = Ledger(tmp_path_factory.mktemp("l") / "l")
        for paid, dollars in steps:
            call = ledger.reserve(ONE, "s", PRICE)
            if paid:
                ledger.settle(call, "answered", Usage(dollars=dollars))
            else:
                ledger.release(call, NoReplyReason.SERVER, billed=dollars > 0.5, dollars=dollars)
        cost = ledger.cost()
        assert ledger._begun == cost.calls + cost.lost
        assert ledger._committed == pytest.approx(cost.paid_usd, abs=1e-9)


class TestRetryAfter:
    @given(st.integers(0, 10_000))
    def test_seconds_and_dates_say_the_same(self, seconds):
        date = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
        assert retry_after({"retry-after": str(seconds)}, NOW) == seconds
        assert retry_after({"retry-after": date}, NOW) == seconds

    def test_a_date_in_the_past_means_now(self):
        assert retry_after({"retry-after": "Sun, 01 Mar 2026 11:00:00 GMT"}, NOW) == 0

    def test_milliseconds_win(self):
        assert retry_after({"retry-after-ms": "1500", "retry-after": "9"}, NOW) == 1.5

    @given(st.text(max_size=40))
    def test_any_text_is_a_wait_or_none(self, text):
        wait = retry_after({"retry-after": text}, NOW)
        assert wait is None or wait >= 0

    @given(st.lists(st.sampled_from(DATE_PARTS), max_size=9).map(" ".join))
    def test_any_date_is_a_wait_or_none(self, text):
        wait = retry_after({"retry-after": text}, NOW)
        assert wait is None or wait >= 0

    @pytest.mark.parametrize(
        "text",
        [
            "0\x1f", "\x1c5", "５", "٣", "1_0", "-1", "+1", "1e3", "nan", "inf", "0x10", "1.", ".5", "5\n", "",
            "Sun, 01 Mar 99999999999999999999 11:00:00 GMT", "Sun, ０１ Mar 2026 11:00:00 GMT",
        ],
    )  # fmt: skip
    def test_what_is_no_number_of_seconds_and_no_date_is_none(self, text):
        assert retry_after({"retry-after": text}, NOW) is None
        assert retry_after({"retry-after-ms": text}, NOW) is None

    @pytest.mark.parametrize(("text", "wait"), [("7", 7.0), (" 7\t", 7.0), ("0.5", 0.5), ("007", 7.0)])
    def test_seconds_are_ascii_digits_between_blanks(self, text, wait):
        assert retry_after({"retry-after": text}, NOW) == wait


class TestWaiting:
    @given(st.integers(1, 100), st.none() | st.floats(0, 100), st.integers(0, 2**32))
    def test_waits_are_bounded_and_never_shorter_than_asked(self, tries, after, seed):
        options = CallOptions(backoff_seconds=2.0, backoff_cap_seconds=30.0)
        wait = wait_seconds(options, tries, after, random.Random(seed))
        assert (after or 0) <= wait <= (30.0 if after is None else after + 2.0)
        assert after is not None or wait <= 2.0 * 2 ** (tries - 1)

    @pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
    def test_passing_statuses_are_tried_again(self, status):
        assert status_fault(status, {}, {"error": {"message": "x"}}).retry

    @pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422])
    def test_lasting_ones_are_not(self, status):
        assert not status_fault(status, {}, None).retry

    def test_a_message_with_half_a_character_can_be_kept(self):
        error = HttpError(400, {}, {"error": {"message": "bad \ud800"}})
        fault = fault_of(error, Arrival(lambda: None), 1.0)
        assert fault.detail == "HTTP 400: bad ?"

    @given(st.integers(100, 599), BODIES)
    def test_any_body_makes_a_fault(self, status, body):
        assert status_fault(status, {}, body).detail.startswith("HTTP")
