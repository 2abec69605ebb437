import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopt.errors import TableError
from kopt.model.kernel import ProposalStatus
from kopt.report.trials import SHARED, assemble_trials
from tests.report.made_up_run import made_up_tables

runs = st.builds(made_up_tables, rounds=st.integers(0, 3), slots=st.integers(1, 9), seed=st.integers(0, 999))


def assembled(tables):
    return assemble_trials(tables.candidates, tables.builds, tables.evaluations, tables.techniques, tables.selections)


@given(runs)
def test_every_candidate_is_exactly_one_trial_and_nothing_is_invented(tables):
    assert sorted(t.name for t in assembled(tables)) == sorted(c.name for c in tables.candidates)


@given(runs, st.integers(0, 99))
def test_the_order_of_the_tables_does_not_matter(tables, seed):
    expected, shuffle = assembled(tables), random.Random(seed).shuffle
    for rows in (tables.candidates, tables.builds, tables.evaluations, *tables.techniques, *tables.selections):
        shuffle(rows)
    assert assembled(tables) == expected


@given(runs)
def test_trials_stand_in_order_of_round_attempt_and_slot(tables):
    places = [(t.round, t.attempt, t.slot) for t in assembled(tables)]
    assert places == sorted(places)


@given(runs)
def test_a_duplicate_takes_what_is_known_of_its_first_and_is_not_selected(tables):
    trials = {t.name: t for t in assembled(tables)}
    for trial in (t for t in trials.values() if t.verdict == "duplicate"):
        first = trials[trial.duplicate_of]
        assert [getattr(trial, name) for name in SHARED] == [getattr(first, name) for name in SHARED]
        assert first.verdict != "duplicate"
        assert trial.selected_rank is None


@given(runs)
def test_only_what_passed_has_a_time_of_its_own(tables):
    for trial in assembled(tables):
        if trial.verdict != "duplicate":
            assert (trial.time_ms is not None) == (trial.verdict == "passed") == (trial.estimated is not None)


@given(runs)
def test_times_are_those_of_the_evaluations(tables):
    times = {(e.round, e.attempt, e.slot): e.time_ms for e in tables.evaluations}
    own = {(t.round, t.attempt, t.slot): t.time_ms for t in assembled(tables) if t.verdict in ("passed", "incorrect")}
    assert own == times


@given(runs)
def test_a_trial_has_its_rank_in_the_selection_of_its_own_round(tables):
    ranks = {t.name: t.selected_rank for t in assembled(tables) if t.selected_rank is not None}
    chosen = [(r, row) for r, rows in enumerate(tables.selections) for row in rows]
    assert ranks == {row.origin: row.rank for r, row in chosen if row.origin.startswith(f"r{r}a")}


@given(runs)
def test_every_correct_kernel_has_its_techniques(tables):
    for trial in assembled(tables):
        if trial.verdict == "passed":
            assert trial.techniques == tables.vectors[trial.kernel]
            assert trial.cluster


@given(runs)
def test_losers_keep_phase_and_reason(tables):
    for trial in assembled(tables):
        if trial.verdict in ("failed", "incorrect") or trial.status == "none":
            assert trial.reason


def test_a_slot_that_was_not_used_is_a_trial_without_verdict():
    tables = made_up_tables(rounds=0)
    seed = tables.candidates[0]
    unused = {"round": 1, "status": ProposalStatus.SKIPPED, "kernel": "", "reason": "stopped"}
    tables.candidates.append(seed.model_copy(update=unused))
    trial = assembled(tables)[-1]
    assert (trial.status, trial.verdict, trial.reason) == ("skipped", "none", "stopped")


@pytest.mark.parametrize("name", ["builds", "evaluations"])
def test_a_row_without_a_candidate_is_refused(name):
    tables = made_up_tables(rounds=0)
    rows = getattr(tables, name)
    rows.append(rows[0].model_copy(update={"slot": 5}))
    with pytest.raises(TableError, match="never proposed"):
        assembled(tables)


@pytest.mark.parametrize("name", ["candidates", "builds", "evaluations"])
def test_two_rows_of_one_place_are_refused(name):
    tables = made_up_tables(rounds=0)
    getattr(tables, name).append(getattr(tables, name)[0])
    with pytest.raises(TableError, match="twice"):
        assembled(tables)


def test_a_duplicate_of_nothing_is_refused():
    tables = made_up_tables(rounds=0)
    tables.builds[0] = tables.builds[0].model_copy(update={"duplicate_of": "r9a9s9"})
    with pytest.raises(TableError, match="r9a9s9"):
        assembled(tables)
