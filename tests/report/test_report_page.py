"""The page of a run: its sections, its kernels and its words."""

import re
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopt.config import Config
from kopt.device.draws.distributions import DISTRIBUTIONS
from kopt.report.chosen import opened_kernels, shown_trials
from kopt.report.lineage import chain
from kopt.report.marked import diff, parts
from kopt.report.numbers import ordinal
from kopt.report.outcomes import failures
from kopt.report.render import MOST_BYTES, render
from kopt.report.sentences import commands
from kopt.report.tables import correct_trials
from kopt.report.words import DRAWS, JUDGES, glossary
from tests.report.made_up_run import made_up_record
from tests.report.pages import Page, article_of, asked, quiet


def test_equal_records_give_equal_bytes(record, page):
    assert render(made_up_record()) == page


def test_tags_close_in_order(page):
    assert Page(page).open == []


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


def test_the_diff_of_equal_sources_is_empty_and_marks_are_kinds():
    assert diff("a\n", "a\n") == []
    assert [line.kind for line in diff("a\nb", "a\nc")] == ["place", "same", "removed", "added"]


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


def test_a_profile_tells_counters_in_words_and_nothing_that_does_not_occur(record, page):
    article = article_of(record.final.best_name, page)
    assert '<th scope="row">L2 hit rate, %</th><td class="num">47.5</td>' in article
    assert ">PTX in loops: load global<" in article
    assert "PTX: mma" not in article


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
