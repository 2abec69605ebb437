import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from typing import get_args

import altair
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopt.config import Config
from kopt.device.draws.distributions import DISTRIBUTIONS
from kopt.model.cost import Cost, LabelledCost, total
from kopt.model.environment import Environment
from kopt.neutral import visible
from kopt.report.chosen import opened_kernels, shown_trials
from kopt.report.costs import by_model, by_round, by_round_and_purpose, by_slot, spent
from kopt.report.figures.timeline import timeline
from kopt.report.lineage import chain, graph
from kopt.report.marked import diff, parts
from kopt.report.numbers import ordinal
from kopt.report.outcomes import failures
from kopt.report.record import Agreed, Comparison, Diagnosed, Lessons
from kopt.report.render import MOST_BYTES, TEMPLATES, charts, model_order, render
from kopt.report.rows import job_rows
from kopt.report.sentences import commands, on_floors
from kopt.report.tables import clusters, correct_trials, floors, models
from kopt.report.words import DRAWS, JUDGES, glossary
from tests.report.made_up_run import made_up_record

HOSTILE = "</code></pre><script>alert(1)</script><img src=x onerror=alert(1)>\"'&\u202e"
ENVIRONMENT = Environment(gpu="NVIDIA H200", uuid="GPU-1", driver="580.1", torch="2.11", triton="3.6", evaluator="e")
VOID = {"meta", "br", "img", "link", "input", "wbr"}
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
def small():
    return made_up_record(rounds=1, slots=6, width=2)


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
            "command": HOSTILE, "proposers": {HOSTILE: HOSTILE}, "counters": {HOSTILE: HOSTILE},
            "folder": HOSTILE, "call": HOSTILE, "limits": hostile_limits(record.limits),
            "baselines": tuple(one.model_copy(update={"origin": HOSTILE}) for one in record.baselines),
            "asked_to_fix": {trial.name: HOSTILE for trial in trials},
            "workloads": tuple(one.model_copy(update={"name": HOSTILE, "sizes": HOSTILE}) for one in record.workloads),
            "measured_with": ENVIRONMENT.model_copy(update={"driver": HOSTILE, "torch": HOSTILE}),
            "device": HOSTILE, "models": (HOSTILE,), "versions": {HOSTILE: HOSTILE}, "preset": HOSTILE,
            "kernels": tuple(hostile_kernel(kernel) for kernel in record.kernels),
            "roofs": tuple(roof.model_copy(update={"workload": HOSTILE}) for roof in record.roofs),
        }
    )  # fmt: skip


def hostile_limits(limits):
    direction = limits.diagnosis.directions[0].model_copy(update={"cause": HOSTILE, "bottleneck": HOSTILE})
    diagnosis = limits.diagnosis.model_copy(update={"directions": (direction,)})
    profile = limits.profile.model_copy(update={"notes": (HOSTILE,)})
    return limits.model_copy(update={"profile": profile, "diagnosis": diagnosis})


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
            "selection": HOSTILE, "changes": (HOSTILE, HOSTILE),
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


def test_an_estimate_among_measured_times_says_so_itself(small):
    trials = list(measured(small).trials)
    place = next(place for place, trial in enumerate(trials) if trial.time_ms)
    trials[place] = trials[place].model_copy(update={"estimated": True})
    page = render(measured(small).model_copy(update={"trials": tuple(trials)}))
    assert '<span class="est">estimated</span>' in page


def test_axes_of_time_say_that_times_are_estimated(record):
    assert charts(record)["best-x"].to_dict()["layer"][2]["encoding"]["y"]["title"] == "estimated time, ms"
    assert charts(measured(record))["best-x"].to_dict()["layer"][2]["encoding"]["y"]["title"] == "time, ms"


def test_measured_times_are_not_called_estimated(small):
    page = SCRIPTS.sub("", render(measured(small)))
    assert "times are estimated" not in page
    assert "Times are measured" in page
    assert "95 % interval 1.3000 ms to 1.4000 ms" in page


@pytest.mark.parametrize(
    ("low", "high", "said"), [(1.75, 1.85, "Faster than"), (0.5, 0.6, "Slower than"), (0.99, 1.01, "As fast as")]
)
def test_a_loss_against_pytorch_is_said_as_plainly_as_a_win(small, low, high, said):
    row = Comparison(name="eager", ms=2.5, speedup=(low + high) / 2, low=low, high=high)
    final = measured(small).final.model_copy(update={"against": (row,)})
    page = render(measured(small).model_copy(update={"final": final}))
    assert f"<strong>{said} PyTorch eager" in page
    assert f"95 % interval {low:.3f} to {high:.3f}" in page


def test_a_dry_run_says_that_its_times_are_made_up(small):
    assert "times are made up" in render(small.model_copy(update={"judge": "dry"}))


def test_sections_stand_in_order(page):
    wanted = ["next", "what", "use", "curve", "funnel", "lineage", "roofline", "candidates", "clusters", "failures",
              "busy", "kernels", "diff", "configuration", "versions", "words"]  # fmt: skip
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


def test_a_record_without_trials_taxonomy_or_versions_has_a_page(small):
    bare = {"trials": (), "selections": (), "taxonomy": (), "versions": {}, "kernels": (), "jobs": (), "roofs": ()}
    assert Page(render(small.model_copy(update=bare))).open == []


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
    assert 5 < len(opened) < len(record.kernels)
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
    assert {kind.example.name for kind in failures(record.trials)} <= opened


def test_a_reply_without_a_kernel_opens_with_its_prompt_and_reply_and_no_source(record, page):
    name = next(trial.name for trial in record.trials if trial.status == "none")
    article = page.partition(f'<details class="kernel" id="k-{name}">')[2].partition('<details class="kernel"')[0]
    assert "no proposal" in article
    assert "<summary>Prompt</summary>" in article
    assert "<summary>Source," not in article


def test_the_table_has_every_candidate_or_the_fastest_and_a_sample(record, monkeypatch):
    assert {t.name for t in shown_trials(record)} == {t.name for t in record.trials}
    monkeypatch.setattr("kopt.report.chosen.MOST_ROWS", 20)
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
    assert "<dt>replies of proposers</dt><dd>$3.00 paid</dd>" in told
    assert "Replayed" not in told


def test_a_replayed_run_says_that_nothing_was_paid(small):
    told = render(asked(small, **STORED))
    assert "Replayed: nothing was paid." in told
    assert "<dd>nothing paid; the replies had cost $3.00</dd>" in told
    assert "had cost" in told
    assert "saved by caching" not in told


def test_measured_baselines_stand_in_a_table(small):
    page = render(beside(small))
    assert "1.750 to 1.850" in page
    assert ">workload<" in page


def test_every_grouping_of_costs_has_the_same_sum(record):
    costs = asked(record).costs
    for groups in (by_model(costs), by_round(costs), by_round_and_purpose(costs), by_slot(costs)):
        assert total(groups.values()) == total(costs)


def article_of(name, page):
    return page.partition(f'<details class="kernel" id="k-{name}">')[2].partition('<details class="kernel"')[0]


def on_a_gpu(record):
    """The same run with its times measured, and jobs that held two GPUs."""
    jobs = [job.model_copy(update={"gpu": job.rule == "evaluate"}) for job in record.jobs]
    second = jobs[1].model_copy(update={"began": jobs[1].began + 10})
    return measured(record).model_copy(update={"jobs": (*jobs, second), "measured_with": ENVIRONMENT})


def test_a_measured_run_tells_driver_and_gpus_and_what_gpu_seconds_count(small):
    page = render(on_a_gpu(small))
    assert "<dd>driver 580.1, torch 2.11, triton 3.6</dd>" in page
    assert "<dt>GPUs at a time</dt><dd>2</dd>" in page
    assert "at most 2 at a time: 200 GPU seconds in all, in which each GPU that was held counts" in page
    one = on_a_gpu(small).model_copy(update={"jobs": on_a_gpu(small).jobs[:-1]})
    assert "never more than one at a time: 140 GPU seconds in all" in render(one)


def test_the_page_says_how_to_use_the_kernel_and_how_to_repeat_the_search(told, record):
    wanted = (
        record.command,
        "python results/matvec-demo/best_kernel.py",
        "kopt export results/matvec-demo --as module",
    )
    assert all(
        command in told
        for command in (*wanted, "kopt pack results/matvec-demo\nkopt replay matvec-demo.replies.tar.xz")
    )
    told_commands = [command for _, command in commands(record)]
    assert told_commands[:1] + told_commands[2:] == [wanted[1], wanted[2], wanted[0]]
    assert told_commands[1].endswith("\nfrom best_kernel import kernel_function\ny = kernel_function(a, x)")
    assert [command for _, command in commands(record.model_copy(update={"judge": "dry"}))] == [record.command]
    replayed = record.model_copy(update={"judge": "recorded", "command": ""})
    assert commands(replayed)[-1][1] == "kopt replay ARCHIVE.replies.tar.xz"
    quoted = commands(asked(record.model_copy(update={"run": "a b; c"})))
    assert quoted[-1][1] == "kopt pack 'results/a b; c'\nkopt replay 'a b; c.replies.tar.xz' --run again"


def test_sizes_of_workloads_stand_with_what_they_were_used_for_and_beside_the_checks(record, page):
    assert "<td>times estimated, never verified</td>" in page
    assert '<tr><th scope="row">small tiles</th><td>verified</td><td class="words">M=64, K=256</td>' in page
    assert '<tr><th scope="row">far</th><td>never verified</td>' in page
    assert "M=64, K=256" in article_of(record.final.best_name, page)


def test_an_open_kernel_says_why_it_is_no_parent(record, page):
    name = next(kernel.name for kernel in record.kernels if kernel.selection)
    assert "<dd>no: 5th of 9 by time, and beam keeps the 2 fastest</dd>" in article_of(name, page)


def test_columns_that_would_be_empty_are_left_out(small, page):
    free = tuple(trial.model_copy(update={"cost_usd": 0.0}) for trial in small.trials)
    plain = [kernel.model_copy(update={"times": quiet(kernel.times)}) for kernel in small.kernels]
    bare = render(small.model_copy(update={"trials": free, "kernels": tuple(plain), "asked_to_fix": {}}))
    for head in (">cost</th>", ">cost per win</th>", "what slows it down, by the estimate", ">asked to fix</th>"):
        assert head in page
        assert head not in bare


def quiet(times):
    return tuple(one.model_copy(update={"notes": ""}) for one in times)


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


def test_a_profile_tells_counters_in_words_and_nothing_that_does_not_occur(record, page):
    article = article_of(record.final.best_name, page)
    assert '<th scope="row">L2 hit rate, %</th><td class="num">47.5</td>' in article
    assert ">PTX in loops: load global<" in article
    assert "PTX: mma" not in article


def test_rooflines_of_two_devices_are_said(small):
    passed = correct_trials(small.trials)
    (floor,) = floors(passed)
    noisy = [t.model_copy(update={"roofline_share": t.roofline_share * (1 + 1e-4 * (t.slot % 2))}) for t in passed]
    assert on_floors(floors(passed)) == on_floors(floors(noisy)) == ""
    other = [t.model_copy(update={"roofline_share": t.roofline_share / 2}) if t.round else t for t in passed]
    assert list(floors(other).values()) == [(1,), (0,)]
    assert list(floors(other)) == pytest.approx([floor / 2, floor], rel=1e-3)
    said = on_floors(floors(other))
    assert "in round 0" in said
    assert said in render(small.model_copy(update={"trials": tuple(other), "kernels": ()}))


def test_a_mark_slower_than_twice_the_seed_is_drawn_inside_the_frame(record):
    chart = charts(record)["best-x"].to_dict()
    top = chart["layer"][2]["encoding"]["y"]["scale"]["domain"][1]
    rows = [row for rows in chart["datasets"].values() for row in rows if "shown_ms" in row]
    slow = [row for row in rows if row["ms"] > 2 * record.final.seed_ms]
    assert slow
    assert {row["shown_ms"] for row in slow} == {2 * record.final.seed_ms}
    assert max(row["shown_ms"] for row in rows) < top


@pytest.mark.parametrize("gpu", [False, True])
def test_a_job_of_no_round_is_told_as_one_of_the_whole_run(record, gpu):
    jobs = [record.jobs[0].model_copy(update={"round": None, "attempt": None}), record.jobs[1]]
    chart = timeline(job_rows([job.model_copy(update={"gpu": gpu}) for job in jobs]), gpu).to_dict()
    (rows,) = chart["datasets"].values() if "datasets" in chart else [chart["data"]["values"]]
    assert [row["when"] for row in rows] == ["the whole run", "round 0, attempt 0"]
    assert all(row[one["field"]] is not None for row in rows for one in chart["encoding"]["tooltip"])


def test_every_judge_and_every_kind_of_inputs_is_explained():
    assert set(DRAWS) == set(DISTRIBUTIONS)
    assert set(JUDGES) == set(get_args(Config.model_fields["judge"].annotation)) - {"auto"}


def test_the_words_of_a_page_explain_its_judge_its_proposers_and_its_inputs(record, page):
    words = dict(glossary(record))
    assert {f"proposer {name}" for name in record.models} | {"judge interpret", "inputs normal"} <= set(words)
    assert "inputs range" not in words
    assert all(f"<dt>{word}</dt>" in page for word in words)


@given(st.text(alphabet="`~ \nax", max_size=60))
def test_the_parts_of_a_text_are_the_text(text):
    assert "".join(part.text for part in parts(text)) == text


def test_prose_and_code_of_a_reply_are_told_apart():
    text = "Why\n````python\nx = '```'\n```\n````\nso\n~~~\nopen"
    assert [(part.kind, part.text) for part in parts(text)] == [
        ("prose", "Why\n"), ("code", "````python\nx = '```'\n```\n````\n"), ("prose", "so\n"), ("code", "~~~\nopen"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("number", "text"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (112, "112th"), (23, "23rd")]
)
def test_places_are_written_as_people_say_them(number, text):
    assert ordinal(number) == text
