"""The laws that every strategy keeps (`kopt.search.strategy`), and what is particular to each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopt.errors import ConfigError
from kopt.model.trial import SelectionRow
from kopt.search.expand import FanOut
from kopt.search.order import by_time, dedup
from kopt.search.registry import load_strategy, strategy_names
from kopt.search.strategies.clustered import diversify
from kopt.search.strategy import Asked
from tests.search.pools import member, pools

FORGETFUL = ("beam", "clustered", "greedy", "noop")
"""Strategies whose archive stays empty."""
every_strategy = pytest.mark.parametrize("strategy", list(map(load_strategy, strategy_names())), ids=strategy_names())
widths = st.integers(1, 5)
fan_outs = st.builds(
    FanOut,
    width=widths,
    bottlenecks=st.integers(1, 3),
    models=st.integers(1, 3).map(lambda count: tuple("abc"[:count])),
    samples=st.integers(1, 3),
)


def two_rounds(strategy, first, second, width):
    """The pool, the parents and the archive of a second round, whose pool holds the first round's parents.

    The second round's kernels are children of the first parent, whose model is paid.
    """
    parents, archive = strategy.choose(first, strategy.archive(), width)
    pool = [*parents, *second]
    asked = [Asked(origin=one.origin, parent=parents[0].kernel, model="a", cost_usd=0.5) for one in second]
    return pool, *strategy.choose(pool, strategy.learn(asked, pool, archive), width)


def ranked(parents):
    return [SelectionRow(rank=rank, **parent.model_dump()) for rank, parent in enumerate(parents)]


def test_the_shipped_strategies_are_found():
    assert set(FORGETFUL) <= set(strategy_names())


def test_an_unknown_strategy_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match="strategy: unknown 'beem'; did you mean 'beam'"):
        load_strategy("beem")


# Laws of every strategy


@every_strategy
@given(first=pools(1), second=pools(2), width=widths)
def test_parents_number_from_one_to_the_width(strategy, first, second, width):
    _, parents, _ = two_rounds(strategy, first, second, width)
    assert 1 <= len(parents) <= width


@every_strategy
@given(first=pools(1), second=pools(2), width=widths)
def test_no_two_parents_are_equal_kernels(strategy, first, second, width):
    _, parents, _ = two_rounds(strategy, first, second, width)
    assert len({parent.fingerprint for parent in parents}) == len(parents)


@every_strategy
@given(first=pools(1), second=pools(2), width=widths)
def test_the_fastest_kernel_of_the_pool_is_a_parent(strategy, first, second, width):
    pool, parents, _ = two_rounds(strategy, first, second, width)
    assert dedup(pool)[0] in parents


@every_strategy
@given(first=pools(1), second=pools(2), width=widths, random=st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_the_order_of_the_pool(strategy, first, second, width, random):
    shuffled = random.sample(first, len(first)), random.sample(second, len(second))
    assert two_rounds(strategy, *shuffled, width)[1:] == two_rounds(strategy, first, second, width)[1:]


@every_strategy
@given(first=pools(1), second=pools(2), width=widths)
def test_the_archive_survives_a_round_trip(strategy, first, second, width):
    *_, archive = two_rounds(strategy, first, second, width)
    assert strategy.archive.model_validate_json(archive.model_dump_json()) == archive


@every_strategy
@given(first=pools(1), second=pools(2), fan_out=fan_outs)
def test_slots_number_exactly_the_fan_out(strategy, first, second, fan_out):
    _, parents, archive = two_rounds(strategy, first, second, fan_out.width)
    slots = strategy.slots(ranked(parents), archive, fan_out)
    assert [slot.slot for slot in slots] == list(range(fan_out.slots))


@every_strategy
@given(first=pools(1), second=pools(2), fan_out=fan_outs)
def test_every_slot_names_a_parent_a_direction_and_a_proposer(strategy, first, second, fan_out):
    _, parents, archive = two_rounds(strategy, first, second, fan_out.width)
    for slot in strategy.slots(ranked(parents), archive, fan_out):
        assert slot.parent == parents[slot.parent_rank].kernel
        assert 1 <= slot.bottleneck <= fan_out.bottlenecks
        assert slot.model in fan_out.models


@every_strategy
@given(first=pools(1), second=pools(2), fan_out=fan_outs)
def test_no_two_slots_make_the_same_request(strategy, first, second, fan_out):
    _, parents, archive = two_rounds(strategy, first, second, fan_out.width)
    slots = strategy.slots(ranked(parents), archive, fan_out)
    assert len({(slot.parent, slot.bottleneck, slot.model, slot.sample) for slot in slots}) == len(slots)


@every_strategy
@given(rounds=st.lists(pools(), min_size=2, max_size=4), width=widths)
def test_the_best_kernel_of_a_search_is_never_lost(strategy, rounds, width):
    parents, archive = [], strategy.archive()
    for number, children in enumerate(rounds):
        names = [f"{number} {one.kernel}" for one in children]
        named = [
            one.model_copy(update={"kernel": name, "fingerprint": name})
            for one, name in zip(children, names, strict=True)
        ]
        parents, archive = strategy.choose([*parents, *named], archive, width)
    assert min(one.time_ms for one in parents) == min(one.time_ms for children in rounds for one in children)


@every_strategy
def test_a_search_without_proposers_is_refused(strategy):
    with pytest.raises(ConfigError, match="name at least one proposer"):
        strategy.check(FanOut(width=1, bottlenecks=1, models=(), samples=1))


# What is particular to each


@pytest.mark.parametrize("name", FORGETFUL)
@given(pool=pools(), width=widths)
def test_choosing_among_the_chosen_changes_nothing(name, pool, width):
    strategy = load_strategy(name)
    parents, archive = strategy.choose(pool, strategy.archive(), width)
    assert strategy.choose(parents, archive, width) == (parents, archive)


@given(pool=pools(), width=widths)
def test_a_beam_is_the_fastest(pool, width):
    strategy = load_strategy("beam")
    assert strategy.choose(pool, strategy.archive(), width)[0] == dedup(pool)[:width]


@pytest.mark.parametrize(("width", "samples"), [(2, 1), (1, 2)])
def test_greedy_takes_one_slot_alone(width, samples):
    with pytest.raises(ConfigError, match="must come to one slot, not 2"):
        load_strategy("greedy").check(FanOut(width=width, bottlenecks=1, models=("m",), samples=samples))


@given(pools())
def test_diversify_loses_and_invents_nothing(pool):
    assert by_time(diversify(dedup(pool))) == dedup(pool)


def test_diversify_takes_the_fastest_of_every_cluster_in_order_of_time_then_every_second():
    a1, a2, b1, b2, c1 = (
        member(slot, time, cluster=cluster)
        for slot, (time, cluster) in enumerate([(1.0, "a"), (1.1, "a"), (2.0, "b"), (2.5, "b"), (9.0, "c")])
    )
    assert diversify([a1, a2, b1, b2, c1]) == [a1, b1, c1, a2, b2]
