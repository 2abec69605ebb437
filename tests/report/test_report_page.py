import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kopt.model.build import Phase
from kopt.model.cost import LabelledCost, total
from kopt.report.costs import by_model, by_round, by_round_and_purpose, by_slot
from kopt.report.curve import curve, ticks
from kopt.report.diff import diff
from kopt.report.lineage import chain, graph
from kopt.report.record import Agreed, Comparison, Diagnosed, Lessons
from kopt.report.render import model_styles, render
from kopt.report.tables import INCORRECT, MEANING, NO_PROPOSAL, clusters, correct_trials, failures, models
from tests.report.made_up_run import made_up_record

HOSTILE = "</code></pre><script>alert(1)</script><img src=x onerror=alert(1)>\"'&\u202e"
VOID = {"meta", "br", "img", "link"}
LABELLED = re.compile(r"\s*(<[^>]*>)?\s*estimated")


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
    assert "http" not in re.sub(r'http-equiv="', "", page)
    assert not {"link", "img", "iframe", "object"} & set(Page(page).tags)
    assert all(value.startswith("#") for name, value in Page(page).attributes if name in ("href", "src"))


def test_the_only_script_is_the_pages_own(record, page):
    tags = Page(render(hostile(record))).tags
    assert tags.count("script") == Page(page).tags.count("script") == 1


def test_what_models_and_compilers_wrote_is_escaped(record):
    page = render(hostile(record))
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "\u202e" not in page
    assert Page(page).open == []


def test_every_estimated_time_carries_its_label(page):
    for match in re.finditer(r"\d ms\b", page):
        assert LABELLED.match(page, match.end()), page[match.start() - 80 : match.end() + 80]


def test_every_speedup_of_estimated_times_carries_its_label(page):
    for match in re.finditer(r"\d\.\d\dx\b", page):
        before = page[max(match.start() - 200, 0) : match.start()]
        assert LABELLED.match(page, match.end()) or " seed estimated" in page[match.end() : match.end() + 16], before


def test_the_axis_of_the_curve_says_that_times_are_estimated(page):
    assert ">estimated time, ms</text>" in page


def test_measured_times_are_not_called_estimated(record):
    page = render(measured(record))
    assert "estimated" not in page[page.index("<body>") :]
    assert "95 % interval" in page


def test_a_dry_run_says_that_its_times_are_made_up(record):
    assert "times are made up" in render(record.model_copy(update={"judge": "dry"}))


def test_sections_stand_in_order(page):
    wanted = ["what", "curve", "funnel", "lineage", "clusters", "failures", "top", "diff", "source", "configuration",
              "versions"]  # fmt: skip
    assert re.findall(r'<h2 id="(\w+)"', page) == wanted


def test_every_head_of_a_table_has_a_scope_and_every_figure_a_name(page):
    heads, drawings = re.findall(r"<th\b[^>]*>", page), re.findall(r"<svg\b[^>]*>", page)
    figures = [drawing for drawing in drawings if 'role="img"' in drawing]
    assert heads
    assert figures
    assert [head for head in heads if "scope=" not in head] == []
    assert [figure for figure in figures if "aria-label" not in figure] == []
    assert [drawing for drawing in drawings if "aria-hidden" not in drawing and "role=" not in drawing] == []


def test_identifiers_are_unique(page):
    names = [value for name, value in Page(page).attributes if name == "id"]
    assert len(names) == len(set(names))


def test_a_run_of_the_seed_alone_has_a_page():
    page = render(made_up_record(rounds=0))
    assert "No kernel faster than the seed was found." in page
    assert Page(page).open == []


def test_a_record_without_trials_taxonomy_or_versions_has_a_page(record):
    bare = {"trials": (), "selections": (), "taxonomy": (), "versions": {}}
    assert Page(render(record.model_copy(update=bare))).open == []


def test_1800_slots_stay_below_2_megabytes():
    record = made_up_record(rounds=8, slots=225, width=5)
    assert len(record.trials) > 1800
    assert len(render(record).encode()) < 2_000_000


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


def test_every_correct_child_is_a_dot(record):
    drawn = curve(record.rounds, record.trials, model_styles(record.models, []))
    children = [t.name for t in record.trials if t.verdict == "passed" and t.round > 0]
    assert sorted(dot.trial.name for dot in drawn.dots) == sorted(children)


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
    assert all(row.asked >= row.proposed >= row.correct >= row.faster for row in rows)


@given(st.floats(1e-4, 1e3), st.floats(1.01, 1e4))
@example(0.00010000000000000002, 4.0)
def test_ticks_lie_in_the_frame_and_are_few(low, ratio):
    found = ticks(low, low * ratio)
    assert found == sorted(set(found))
    assert all(low * 0.9999 <= tick <= low * ratio * 1.0001 for tick in found)
    assert 2 <= len(found) <= 16


def test_the_diff_of_equal_sources_is_empty_and_marks_are_kinds():
    assert diff("a\n", "a\n") == []
    assert [line.kind for line in diff("a\nb", "a\nc")] == ["place", "same", "removed", "added"]


def test_what_only_asking_runs_have_is_absent_elsewhere(record, page):
    told = render(asked(record))
    for name in EXTRA:
        assert (f'id="{name}"' in told, f'href="#{name}"' in told) == (True, True)
        assert (f'id="{name}"' in page, f'href="#{name}"' in page) == (False, False)
    assert Page(told).open == []


def test_costs_are_totalled_and_tell_what_caching_saved(record):
    told = render(asked(record))
    assert "4 calls brought a reply, for $3.00 in all. Prompt caching saved $1.00." in told
    assert "<dt>language models</dt><dd>$3.00 paid</dd>" in told
    assert "Replayed" not in told


def test_a_replayed_run_says_that_nothing_was_paid(record):
    told = render(asked(record, **STORED))
    assert "Replayed: nothing was paid." in told
    assert "<dd>nothing paid; the replies had cost $3.00</dd>" in told
    assert "had cost" in told
    assert "saved by caching" not in told


def test_what_models_told_is_escaped_too(record):
    page = render(asked(hostile(record), HOSTILE))
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "\u202e" not in page
    assert Page(page).open == []


def test_measured_baselines_stand_in_a_table_in_place_of_sentences(record):
    page = render(beside(record))
    assert "1.750 to 1.850" in page
    assert "PyTorch eager takes" not in page
    assert ">workload<" in page
    assert "PyTorch eager takes" in render(measured(record))


def test_every_grouping_of_costs_has_the_same_sum(record):
    costs = asked(record).costs
    for groups in (by_model(costs), by_round(costs), by_round_and_purpose(costs), by_slot(costs)):
        assert total(groups.values()) == total(costs)
