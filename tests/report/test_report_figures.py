"""Figures and their tables hold every candidate once."""

from itertools import pairwise

import altair

from kopt.report.lineage import chain, graph
from kopt.report.outcomes import failures
from kopt.report.render import TEMPLATES, charts, model_order
from kopt.report.tables import clusters, correct_trials, models


def test_figures_are_valid_for_vega_lite(record):
    drawn = charts(record)
    assert set(drawn) == {"best-x", "best-calls", "best-dollars", "best-judge_s", "lineage", "roofline", "clusters",
                          "timeline"}  # fmt: skip
    for chart in drawn.values():
        chart.to_dict(validate=True)


def test_the_bundle_of_vega_is_that_of_altairs_version():
    head = (TEMPLATES / "vega.js").read_text(encoding="utf-8").partition("\n")[0]
    assert f"Vega-Lite {altair.SCHEMA_VERSION.lstrip('v')}," in head


def test_the_chain_leads_from_the_seed_to_the_best_kernel_parent_by_parent(record):
    steps = chain(record.trials, record.final.best_name)
    assert steps[0].trial.name == "r0a0s0"
    assert steps[-1].trial.name == record.final.best_name
    assert all(step.trial.parent == before.trial.kernel for before, step in pairwise(steps))
    assert all(set(step.added) <= set(step.trial.techniques) for step in steps)


def test_a_kernel_that_is_its_own_ancestor_ends_the_chain(record):
    loop = record.trials[0].model_copy(update={"parent": record.trials[0].kernel})
    assert [step.trial for step in chain([loop], loop.name)] == [loop]


def test_the_graph_has_every_selected_kernel_once_and_no_two_in_one_place(record):
    drawn = graph(record.trials, record.selections, chain(record.trials, record.final.best_name))
    selected = {row.origin for rows in record.selections for row in rows}
    assert selected <= {node.trial.name for node in drawn.nodes}
    assert len({(node.x, node.y) for node in drawn.nodes}) == len(drawn.nodes) == len(drawn.edges) + 1


def test_every_correct_child_is_a_mark(record):
    rows = [row for rows in charts(record)["best-x"].to_dict()["datasets"].values() for row in rows if "name" in row]
    correct = [t.name for t in record.trials if t.verdict == "passed"]
    assert sorted(row["name"] for row in rows) == sorted(correct)


def test_models_keep_the_order_of_their_configuration():
    assert model_order(["b", "a"], ["c", "a", ""]) == ["b", "a", "c"]


def test_failures_are_counted_once_each(record):
    wrong = [t for t in record.trials if t.verdict in ("failed", "incorrect") or t.status == "none"]
    assert sum(kind.number for kind in failures(record.trials)) == len(wrong)


def test_clusters_hold_every_correct_kernel_once_and_the_fastest_leads(record):
    rows = clusters(record.trials)
    assert sum(row.members for row in rows) == len(correct_trials(record.trials))
    assert rows[0].fastest == correct_trials(record.trials)[0]


def test_kernels_that_nobody_classified_share_a_row(record):
    trials = [t.model_copy(update={"cluster": t.kernel, "techniques": ()}) for t in record.trials]
    (row,) = clusters(trials)
    assert not row.classified


def test_models_share_out_every_candidate(record):
    rows = models(record.trials)
    assert sum(row.asked for row in rows) == sum(t.round > 0 for t in record.trials)
    assert all(row.asked >= row.proposed >= row.built >= row.correct >= row.wins for row in rows)
