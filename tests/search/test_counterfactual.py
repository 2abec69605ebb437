"""Other strategies, scored over the archive of a made-up search, which the clustered strategy ran with width 3."""

from collections import Counter

import pytest

from kopt.search.counterfactual import RecordedRound, counterfactual
from kopt.search.registry import load_strategy
from tests.report.made_up_run import made_up_tables


@pytest.fixture(scope="module")
def tables():
    return made_up_tables(rounds=4, slots=24, width=3)


@pytest.fixture(scope="module")
def rounds(tables):
    parents = {one.name: one.parent for one in tables.candidates}
    recorded = []
    for number, summary in enumerate(tables.summaries):
        new = [one for one in tables.evaluations if one.round == number and one.verdict == "passed"]
        names = {f"r{one.round}a{one.attempt}s{one.slot}" for one in new}
        pool = tables.pools[number]
        children = {}
        for row in pool:
            if row.origin in names:
                children.setdefault(parents[row.origin], []).append(row)
        before = tables.selections[number - 1] if number else []
        recorded.append(RecordedRound(pool, tables.techniques[number], [row.kernel for row in before], children))
        assert summary.round == number
    return recorded


def score(rounds, name="clustered", width=3):
    return counterfactual(name, load_strategy(name), width, rounds)


def test_the_searchs_own_strategy_selects_what_it_selected_and_nothing_is_missing(rounds, tables):
    own = score(rounds)
    assert [step.parents for step in own.steps] == [tuple(row.origin for row in rows) for rows in tables.selections]
    assert own.best_ms == tables.summaries[-1].best_ms
    assert (own.support, own.known_to) == (1.0, 4)


def test_another_strategy_is_known_up_to_the_first_parent_that_was_never_expanded(rounds, tables):
    beam = score(rounds, "beam")
    expansions = Counter(row.origin for rows in tables.selections[:-1] for row in rows)
    first = next(step for step in beam.steps if step.missing)
    asked = Counter(name for step in beam.steps[: first.round + 1] for name in step.parents)
    assert beam.known_to == first.round > 0
    assert set(first.missing) == {name for name in first.parents if asked[name] > expansions[name]}
    assert 0 < beam.support < 1
    assert beam.steps[-1].missing == ()


def test_a_best_time_never_rises_and_a_narrow_search_knows_at_most_what_the_archive_has(rounds, tables):
    for name in ("beam", "clustered", "greedy"):
        for width in (1, 2, 3, 5):
            times = [step.best_ms for step in score(rounds, name, width).steps]
            assert times == sorted(times, reverse=True)
            assert times[-1] >= min(one.time_ms for one in tables.evaluations if one.time_ms)


def test_a_parent_expanded_twice_gives_its_second_children_the_second_time(rounds):
    kernel = rounds[1].expanded[0]
    twice = [one for one in rounds if kernel in one.expanded]
    given = score(rounds)
    assert len(twice) == sum(rounds[0].pool[0].origin in step.parents for step in given.steps[:-1])


def test_the_seed_alone_is_scored(rounds):
    alone = score(rounds[:1], "beam")
    assert (len(alone.steps), alone.support, alone.known_to) == (1, 1.0, 0)
