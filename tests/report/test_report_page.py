import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import altair
import pytest

from kopt.model.build import Phase
from kopt.model.cost import LabelledCost, total
from kopt.neutral import visible
from kopt.report.costs import by_model, by_round, by_round_and_purpose, by_slot
from kopt.report.diff import diff
from kopt.report.lineage import chain, graph
from kopt.report.record import Agreed, Comparison, Diagnosed, Lessons
from kopt.report.render import MOST_BYTES, TEMPLATES, charts, model_order, opened_kernels, render, shown_trials
from kopt.report.tables import INCORRECT, MEANING, NO_PROPOSAL, clusters, correct_trials, failures, models
from tests.report.made_up_run import made_up_record

HOSTILE = "</code></pre><script>alert(1)</script><img src=x onerror=alert(1)>\"'&\u202e"
VOID = {"meta", "br", "img", "link", "input"}
SCRIPTS = re.compile(r"<script.*?</script>", re.DOTALL)


class Page(HTMLParser):
    """Tags of a page, and whether they close in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.attributes = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag


@pytest.fixture(scope="module")
def page(record):
    return render(record)


@pytest.fixture(scope="module")
def told(record):
    return render(asked(record))


@pytest.fixture(scope="module")
def hostile_page(record):
    return render(asked(hostile(record), HOSTILE))


PAID = {"calls": 1, "paid_usd": 0.75, "saved_usd": 0.25}
STORED = {"stored": 1, "stored_usd": 0.75}
EXTRA = ("costs", "diagnoses", "agreement", "lessons")


def hostile(record):
    trials = [t.model_copy(update={"description": HOSTILE, "reason": HOSTILE, "model": HOSTILE}) for t in record.trials]
    final = record.final.model_copy(update={"description": HOSTILE})
    return record.model_copy(
        update={
            "trials": tuple(trials), "final": final, "run": HOSTILE, "best_source": HOSTILE, "configuration": HOSTILE,
            "device": HOSTILE, "models": (HOSTILE,), "versions": {HOSTILE: HOSTILE}, "preset": HOSTILE,
            "kernels": tuple(hostile_kernel(kernel) for kernel in record.kernels),
            "roofs": tuple(roof.model_copy(update={"workload": HOSTILE}) for roof in record.roofs),
        }
    )  # fmt: skip


def hostile_kernel(kernel):
    """The same kernel with hostile text wherever a candidate or a compiler writes."""
    profile = kernel.profile.model_copy(update={"notes": (HOSTILE,)})
    direction = kernel.diagnosis.directions[0].model_copy(update={"cause": HOSTILE, "direction": HOSTILE})
    diagnosis = kernel.diagnosis.model_copy(update={"source": HOSTILE, "directions": (direction,)})
    launches = [one.model_copy(update={"kernel": HOSTILE, "constants": HOSTILE}) for one in kernel.launches]
    exchange = kernel.exchange.model_copy(update={"model": HOSTILE, "prompt": HOSTILE, "reply": HOSTILE})
    times = [one.model_copy(update={"workload": HOSTILE, "notes": HOSTILE}) for one in kernel.times]
    return kernel.model_copy(
        update={
            "source": HOSTILE, "parent_source": "x", "note": HOSTILE, "profile": profile, "diagnosis": diagnosis,
            "followed": direction, "exchange": exchange, "launches": tuple(launches), "times": tuple(times),
            "changed": tuple(one.model_copy(update={"where": HOSTILE, "after": HOSTILE}) for one in kernel.changed),
        }
    )  # fmt: skip


def asked(record, text="gpt-5-4", **counts):
    """The same run with all that language models tell, each of it holding `text`."""
    usage = {"input": 900, "cached": 400, "output": 80, "reasoning": 20, **(counts or PAID)}
    return record.model_copy(
        update={
            "costs": tuple(
                LabelledCost(label=f"r{r}a0s{slot}", model=text, round=r, purpose="propose", slot=slot, **usage)
                for r in (1, 2)
                for slot in (0, 1)
            ),
            "diagnoses": (Diagnosed(round=0, place=1, parent=text, source=text, bottlenecks=(text,)),),
            "agreed": (
                Agreed(technique=text, both=6, facts_only=1, model_only=1),
                Agreed(technique="none", both=0, facts_only=0, model_only=0),
            ),
            "lessons": (Lessons(round=1, worked=(text,), failed=(text,), advice=(text,)),),
        }
    )  # fmt: skip


def beside(record):
    """A run that was measured beside baselines, on two workloads."""
    against = (Comparison(name="eager", ms=2.5, speedup=1.8, low=1.75, high=1.85),)
    return measured(record).model_copy(
        update={
            "final": measured(record).final.model_copy(update={"against": against, "workloads": {"a": 1.1, "b": 1.2}})
        }
    )


def measured(record):
    """The same run on a GPU."""
    fields = {"estimated": False, "eager_ms": 1.5, "compile_ms": 1.4, "interval": (1.3, 1.4)}
    return record.model_copy(
        update={
            "judge": "cuda",
            "final": record.final.model_copy(update=fields),
            "rounds": tuple(r.model_copy(update={"estimated": False}) for r in record.rounds),
            "trials": tuple(t.model_copy(update={"estimated": t.time_ms and False}) for t in record.trials),
        }
    )


def test_equal_records_give_equal_bytes(record, page):
    assert render(made_up_record()) == page


def test_tags_close_in_order(page):
    assert Page(page).open == []


def test_nothing_is_asked_of_a_network(page):
    assert "http" not in re.sub(r'http-equiv="', "", SCRIPTS.sub("", page))
    assert not {"link", "img", "iframe", "object"} & set(Page(page).tags)
    assert all(value.startswith("#") for name, value in Page(page).attributes if name in ("href", "src"))
    assert "default-src 'none'" in page


def test_no_text_makes_a_script(hostile_page, page):
    tags = Page(hostile_page).tags
    assert tags.count("script") == Page(page).tags.count("script") == 2  # data of the figures, and the page's own


def test_what_models_and_compilers_wrote_is_escaped(hostile_page):
    shown = SCRIPTS.sub("", hostile_page)
    assert "<script>alert" not in hostile_page
    assert "<img" not in shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown
    assert "\u202e" not in shown
    assert Page(hostile_page).open == []


def test_text_in_figures_is_data_and_ends_no_script(hostile_page):
    (data,) = re.findall(r'<script type="application/json" id="figures">(.*?)</script>', hostile_page)
    assert not re.search("[<>&\u202e]", data)
    names = {row["model"] for rows in json.loads(data)["datasets"].values() for row in rows if "model" in row}
    assert visible(HOSTILE) in names


def test_text_of_candidates_stands_in_figures_only_among_values_and_names_of_proposers(record):
    """Vega evaluates expressions, titles and field names: none of these may hold foreign text."""
    for name, chart in charts(hostile(record)).items():
        spec = chart.to_dict(validate=False)
        spec.pop("datasets", None)
        assert {path for path in places_of(HOSTILE, spec) if path[-2:-1] != ("domain",)} == set(), name


def places_of(text, value, path=()):
    """Where a text stands in a specification."""
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, list):
        pairs = enumerate(value)
    else:
        return [path] if isinstance(value, str) and text in value else []
    return [place for key, one in pairs for place in places_of(text, one, (*path, key))]


def test_figures_are_valid_for_vega_lite(record):
    drawn = charts(record)
    assert set(drawn) == {"best-x", "best-calls", "best-dollars", "best-judge_s", "lineage", "roofline", "clusters",
                          "timeline"}  # fmt: skip
    for chart in drawn.values():
        chart.to_dict(validate=True)


def test_the_bundle_of_vega_is_that_of_altairs_version():
    head = (TEMPLATES / "vega.js").read_text(encoding="utf-8").partition("\n")[0]
    assert f"Vega-Lite {altair.SCHEMA_VERSION.lstrip('v')}," in head


def test_estimated_times_are_called_so_once_for_the_whole_page(page):
    text = SCRIPTS.sub("", page)
    assert text.count("all times are estimated") == 1
    assert text.count("Times are estimated, not measured.") == 1
    assert 'class="est"' not in text


def test_an_estimate_among_measured_times_says_so_itself(record):
    trials = list(measured(record).trials)
    place = next(place for place, trial in enumerate(trials) if trial.time_ms)
    trials[place] = trials[place].model_copy(update={"estimated": True})
    page = render(measured(record).model_copy(update={"trials": tuple(trials)}))
    assert '<span class="est">estimated</span>' in page


def test_axes_of_time_say_that_times_are_estimated(record):
    assert charts(record)["best-x"].to_dict()["layer"][2]["encoding"]["y"]["title"] == "estimated time, ms"
    assert charts(measured(record))["best-x"].to_dict()["layer"][2]["encoding"]["y"]["title"] == "time, ms"


def test_measured_times_are_not_called_estimated(record):
    page = SCRIPTS.sub("", render(measured(record)))
    assert "times are estimated" not in page
    assert "Times are measured" in page
    assert "95 % interval 1.3000 ms to 1.4000 ms" in page


@pytest.mark.parametrize(
    ("low", "high", "said"), [(1.75, 1.85, "Faster than"), (0.5, 0.6, "Slower than"), (0.99, 1.01, "As fast as")]
)
def test_a_loss_against_pytorch_is_said_as_plainly_as_a_win(record, low, high, said):
    row = Comparison(name="eager", ms=2.5, speedup=(low + high) / 2, low=low, high=high)
    final = measured(record).final.model_copy(update={"against": (row,)})
    page = render(measured(record).model_copy(update={"final": final}))
    assert f"<strong>{said} PyTorch eager" in page
    assert f"95 % interval {low:.3f} to {high:.3f}" in page


def test_a_dry_run_says_that_its_times_are_made_up(record):
    assert "times are made up" in render(record.model_copy(update={"judge": "dry"}))


def test_sections_stand_in_order(page):
    wanted = ["what", "curve", "funnel", "lineage", "roofline", "candidates", "clusters", "failures", "busy",
              "kernels", "diff", "configuration", "versions"]  # fmt: skip
    assert re.findall(r'<h2 id="(\w+)"', page) == wanted


def test_every_head_of_a_table_has_a_scope_and_every_figure_a_name(page):
    heads, figures = re.findall(r"<th\b[^>]*>", page), re.findall(r"<div class=\"plot[^>]*>", page)
    assert heads
    assert figures
    assert [head for head in heads if "scope=" not in head] == []
    assert [figure for figure in figures if 'aria-label="' not in figure] == []


def test_identifiers_are_unique(page):
    names = [value for name, value in Page(page).attributes if name == "id"]
    assert len(names) == len(set(names))


def test_a_run_of_the_seed_alone_has_a_page():
    page = render(made_up_record(rounds=0))
    assert "No kernel faster than the seed was found." in page
    assert Page(page).open == []


def test_a_record_without_trials_taxonomy_or_versions_has_a_page(record):
    bare = {"trials": (), "selections": (), "taxonomy": (), "versions": {}, "kernels": (), "jobs": (), "roofs": ()}
    assert Page(render(record.model_copy(update=bare))).open == []


def test_1800_slots_with_long_prompts_stay_below_3_megabytes():
    record = made_up_record(rounds=8, slots=225, width=5)
    long = [
        one.model_copy(update={"exchange": one.exchange.model_copy(update={"prompt": one.name * 8000})})
        for one in record.kernels
    ]
    page = render(record.model_copy(update={"kernels": tuple(long)}))
    opened = re.findall(r'<details class="kernel" id="k-(\w+)"', page)
    assert len(record.trials) > 1800
    assert len(page.encode()) < MOST_BYTES
    assert 10 < len(opened) < len(record.kernels)
    assert record.final.best_name in opened
    assert "candidates open here" in page


def test_links_to_kernels_lead_to_kernels_of_the_page(page):
    targets = {value for name, value in Page(page).attributes if name == "id"}
    links = {value for name, value in Page(page).attributes if name == "href"}
    assert {link.removeprefix("#") for link in links} <= targets


def test_kernels_that_open_hold_the_best_ones_line_the_selected_and_an_example_of_each_failure(record):
    opened = set(opened_kernels(record))
    assert {step.trial.name for step in chain(record.trials, record.final.best_name)} <= opened
    assert {row.origin for rows in record.selections for row in rows} <= opened
    assert {kind.example.name for kind in failures(record.trials) if kind.example.kernel} <= opened


def test_the_table_has_every_candidate_or_the_fastest_and_a_sample(record, monkeypatch):
    assert {t.name for t in shown_trials(record)} == {t.name for t in record.trials}
    monkeypatch.setattr("kopt.report.render.MOST_ROWS", 20)
    some = shown_trials(record)
    assert some[:10] == correct_trials(record.trials)[:10]
    assert len({trial.name for trial in some}) == 20


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


def test_every_way_to_fail_is_explained():
    assert set(MEANING) == {*Phase, INCORRECT, NO_PROPOSAL}


def test_clusters_hold_every_correct_kernel_once_and_the_fastest_leads(record):
    rows = clusters(record.trials)
    assert sum(row.members for row in rows) == len(correct_trials(record.trials))
    assert rows[0].fastest == correct_trials(record.trials)[0]


def test_kernels_that_nobody_classified_share_a_row(record):
    trials = [t.model_copy(update={"cluster": t.kernel, "techniques": ()}) for t in record.trials]
    (row,) = clusters(trials)
    assert not row.classified


def test_models_share_out_every_candidate(record):
    rows = models(record.trials, record.final.seed_ms)
    assert sum(row.asked for row in rows) == sum(t.round > 0 for t in record.trials)
    assert all(row.asked >= row.proposed >= row.built >= row.correct >= max(row.faster, row.wins) for row in rows)


def test_the_diff_of_equal_sources_is_empty_and_marks_are_kinds():
    assert diff("a\n", "a\n") == []
    assert [line.kind for line in diff("a\nb", "a\nc")] == ["place", "same", "removed", "added"]


def test_what_only_asking_runs_have_is_absent_elsewhere(told, page):
    for name in EXTRA:
        assert (f'id="{name}"' in told, f'href="#{name}"' in told) == (True, True)
        assert (f'id="{name}"' in page, f'href="#{name}"' in page) == (False, False)
    assert Page(told).open == []


def test_costs_are_totalled_and_tell_what_caching_saved(told):
    assert "4 calls brought a reply, for $3.00 in all. Prompt caching saved $1.00." in told
    assert "<dt>language models</dt><dd>$3.00 paid</dd>" in told
    assert "Replayed" not in told


def test_a_replayed_run_says_that_nothing_was_paid(record):
    told = render(asked(record, **STORED))
    assert "Replayed: nothing was paid." in told
    assert "<dd>nothing paid; the replies had cost $3.00</dd>" in told
    assert "had cost" in told
    assert "saved by caching" not in told


def test_measured_baselines_stand_in_a_table(record):
    page = render(beside(record))
    assert "1.750 to 1.850" in page
    assert ">workload<" in page


def test_every_grouping_of_costs_has_the_same_sum(record):
    costs = asked(record).costs
    for groups in (by_model(costs), by_round(costs), by_round_and_purpose(costs), by_slot(costs)):
        assert total(groups.values()) == total(costs)
