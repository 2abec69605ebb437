"""Why a selection kept a candidate as a parent, or did not."""

from dataclasses import replace
from itertools import pairwise

import pytest

from kopt.config import Config
from kopt.report.numbers import ordinal
from kopt.run.tables import Round, RoundTables
from kopt.run.value import Run
from kopt.search.order import dedup
from kopt.view.fate import fates
from tests.report.made_up_run import made_up_tables


@pytest.fixture(scope="module")
def clustered():
    tables = made_up_tables(rounds=3, slots=8, seed=4)
    rounds = [
        Round(
            tables=RoundTables(
                candidates=[one for one in tables.candidates if one.round == number],
                builds=[one for one in tables.builds if one.round == number],
                evaluations=[one for one in tables.evaluations if one.round == number],
                pool=tables.pools[number], techniques=tables.techniques[number],
            ),
            selection=tables.selections[number],
            summary=tables.summaries[number],
        )
        for number in range(4)
    ]  # fmt: skip
    config = Config(strategy="clustered")
    return Run("run", config, problem=None, facts=None, device=None, taxonomy=(), rounds=rounds)


@pytest.fixture(scope="module")
def beam(clustered):
    """The same rounds, of each of which the two fastest were selected."""
    rounds = [
        replace(one, selection=[fastest(one.selection[0], row, rank) for rank, row in enumerate(best_two(one))])
        for one in clustered.rounds
    ]
    return replace(clustered, rounds=rounds, config=Config(strategy="beam"))


def best_two(round):
    return dedup(round.tables.pool)[:2]


def fastest(like, row, rank):
    return like.model_copy(update={"origin": row.origin, "kernel": row.kernel, "rank": rank})


def places(run):
    return {
        row.origin: (place, len(dedup(round.tables.pool)))
        for number, round in enumerate(run.rounds)
        for place, row in enumerate(dedup(round.tables.pool), 1)
        if row.origin.startswith(f"r{number}a")
    }


def test_every_candidate_is_told_whether_it_was_selected(beam, clustered):
    for run in (beam, clustered):
        told = fates(run)
        assert set(told) == {trial.name for trial in run.trials}
        kept = {row.origin for round in run.rounds for row in round.selection}
        assert {name for name, text in told.items() if text.startswith("rank")} == kept
        assert all(text.startswith("no: ") for name, text in told.items() if name not in kept)


def test_a_beam_names_the_place_by_time_of_those_that_it_did_not_keep(beam):
    told, left_out = fates(beam), 0
    for name, (place, size) in places(beam).items():
        if place > 2:
            assert told[name] == f"no: {ordinal(place)} of {size} by time, and beam keeps the 2 fastest"
            left_out += 1
    assert left_out > 3


def test_another_strategy_names_the_place_among_equal_techniques_and_those_that_it_kept(clustered):
    told = fates(clustered)
    texts = [told[name] for name, _ in places(clustered).items() if told[name].startswith("no")]
    assert texts
    for text in texts:
        assert "with the same techniques; clustered kept r" in text
    assert any("1st)" in text for text in texts)


def test_a_kernel_that_was_kept_for_several_rounds_names_them_all(beam, clustered):
    seen = 0
    for run in (beam, clustered):
        told = fates(run)
        for before, after in pairwise(run.rounds):
            for name in {row.origin for row in before.selection} & {row.origin for row in after.selection}:
                assert f"of round {before.summary.round}, rank" in told[name]
                seen += 1
    assert seen
    assert told["r0a0s0"].endswith("; 1st of 1 by time")


def test_one_that_did_not_pass_or_that_equals_another_is_in_no_pool(beam):
    told = fates(beam)
    seen = set()
    for trial in beam.trials:
        if trial.verdict == "duplicate":
            assert told[trial.name] == f"no: it is a duplicate of {trial.duplicate_of}"
            seen.add("duplicate")
        elif trial.verdict in ("failed", "incorrect", "none"):
            assert told[trial.name] == "no: only correct kernels are in the pool"
            seen.add("failed")
    assert seen == {"duplicate", "failed"}
