"""The page says what language models cost, and what was not paid."""

import pytest

from kopt.model.cost import Cost, total
from kopt.report.costs import by_model, by_round, by_round_and_purpose, by_slot, spent
from kopt.report.render import render
from tests.report.pages import EXTRA, SCRIPTS, STORED, Page, asked


def test_what_only_asking_runs_have_is_absent_elsewhere(told, page):
    for name in EXTRA:
        assert (f'id="{name}"' in told, f'href="#{name}"' in told) == (True, True)
        assert (f'id="{name}"' in page, f'href="#{name}"' in page) == (False, False)
    assert Page(told).open == []


def test_costs_are_totalled_and_tell_what_caching_saved(told):
    assert "4 calls brought a reply, for $3.00 in all. Prompt caching saved $1.00." in told
    assert "<dt>replies of proposers</dt><dd>$3.00 paid</dd>" in told
    assert "Replayed" not in told


def test_a_replayed_run_says_that_nothing_was_paid(small):
    told = render(asked(small, **STORED))
    assert "Replayed: nothing was paid." in told
    assert "<dd>nothing paid; the replies had cost $3.00</dd>" in told
    assert "had cost" in told
    assert "saved by caching" not in told


def test_every_grouping_of_costs_has_the_same_sum(record):
    costs = asked(record).costs
    for groups in (by_model(costs), by_round(costs), by_round_and_purpose(costs), by_slot(costs)):
        assert total(groups.values()) == total(costs)


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({}, "none asked"),
        ({"calls": 2}, "2 replies without a price: nothing spent"),
        ({"stored": 1}, "1 reply without a price: nothing spent"),
        ({"calls": 1, "stored": 1, "paid_usd": 2.0, "stored_usd": 1.0},
         "$2.00 paid; replies from the store had cost $1.00"),
    ],
)  # fmt: skip
def test_what_was_spent_says_whether_replies_had_a_price(counts, said):
    assert spent(Cost(**counts)) == said


def test_replies_without_a_price_have_no_dollars_on_the_page(small):
    free = small.model_copy(update={"trials": tuple(t.model_copy(update={"cost_usd": 0.0}) for t in small.trials)})
    page = SCRIPTS.sub("", render(asked(free, calls=1)))
    assert "nothing was spent: no model that was asked has a price" in page
    assert "$0" not in page
