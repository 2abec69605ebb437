"""What the page says beside the words of proposers: facts of builds, names, counts, and what is not known."""

import re
from html import unescape

import pytest
from markupsafe import escape

from kopt.report.outcomes import kind_of
from kopt.report.record import Baseline, Limits
from kopt.report.render import render
from tests.report.made_up_run import made_up_record
from tests.report.pages import beside

SCRIPTS = re.compile(r"<script.*?</script>", re.DOTALL)


@pytest.fixture(scope="module")
def page(record):
    return SCRIPTS.sub("", render(record))


@pytest.fixture(scope="module")
def rows(page):
    """The rows of the table of candidates, by name, each as the texts of its cells."""
    table = page.partition('id="candidates-table"')[2].partition("</table>")[0]
    heads = [text(head) for head in re.findall(r"<th scope=.col.*?</th>", table)]
    found = {}
    for name, row in re.findall(r'<tr id="t-(\w+)".*?>(.*?)</tr>', table, re.DOTALL):
        found[name] = dict(zip(heads, map(text, re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)), strict=True))
    return found


def text(markup):
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", markup)).split())


def article(name, page):
    return text(page.partition(f'id="k-{name}">')[2].partition('<details class="kernel"')[0])


def test_the_changes_of_the_best_kernel_are_facts_and_its_proposers_words_are_called_so(record, page):
    best = record.final
    head = text(page.partition("What the best kernel changed")[2].partition("</p>")[0])
    assert "by build and source: warps 4 → 8; BLOCK 1024 → 4096; 2 of 24 lines new, 2 gone." in head
    assert head.index("Its proposer says (nobody checked it):") < head.index(best.description)
    assert "Its proposer says (nobody checked it):" in article(best.best_name, page)
    assert page.count(f"<q>{escape(best.description)}</q>") >= 3


def test_a_number_that_the_build_contradicts_stands_beside_the_words_wherever_they_stand(record, page):
    best = record.final.best_name
    kernels = [
        k.model_copy(update={"contradicted": ("4 warps, not 8",)} if k.name == best else {}) for k in record.kernels
    ]
    contradicted = SCRIPTS.sub("", render(record.model_copy(update={"kernels": tuple(kernels)})))
    assert "The build says otherwise" not in page
    assert contradicted.count("The build says otherwise: 4 warps, not 8.") == 4  # headline, lineage, table, kernel
    assert "The build says otherwise: 4 warps, not 8." in article(best, contradicted)


def test_every_candidate_stands_with_its_parent_by_name_and_its_rank(record, rows):
    first = {trial.kernel: trial.name for trial in reversed(record.trials) if trial.kernel}
    assert set(rows) == {trial.name for trial in record.trials}
    for trial in record.trials:
        assert rows[trial.name]["parent"] == first.get(trial.parent, "")
        assert rows[trial.name]["rank"] == (str(trial.selected_rank + 1) if trial.selected_rank is not None else "")
        assert rows[trial.name]["outcome"].startswith(kind_of(trial).words)


def test_a_duplicate_names_what_it_equals_and_why_nobody_repaired_it(record, rows, page):
    failed = [one for one in record.trials if one.duplicate_of and kind_of(one).failed]
    assert failed
    for trial in failed:
        assert rows[trial.name]["outcome"].endswith(f"duplicate of {trial.duplicate_of}")
    opened = [one for one in failed if f'id="k-{one.name}"' in page]
    assert "repaired by none: duplicates of a failed candidate do not go back" in article(opened[0].name, page)
    same = next(name for name, first in record.same_source.items() if record_of(record, name).phase == "fallback")
    assert "same source as" in rows[same]["outcome"]


def record_of(record, name):
    return next(trial for trial in record.trials if trial.name == name)


def test_a_repair_and_what_it_repairs_name_each_other(record, page):
    opened = [one for one in record.trials if one.attempt and f'id="k-{one.name}"' in page]
    assert opened
    for trial in opened:
        before = f"r{trial.round}a{trial.attempt - 1}s{trial.slot}"
        assert f"repair of {before}" in article(trial.name, page)
        if f'id="k-{before}"' in page:
            assert f"repaired by {trial.name}" in article(before, page)


def test_counts_of_candidates_agree(record, page):
    asked = len(record.trials)
    assert f"{asked}, seed kernel and repairs included" in page
    assert f"All {asked} candidates" in page
    funnel = page.partition('aria-label="Funnel of every round"')[2].partition("</table>")[0]
    by_round = [re.findall(r"<td[^>]*>(\d+)", row)[1] for row in funnel.partition("<tbody>")[2].split("</tr>")[:-1]]
    assert sum(map(int, by_round)) == asked


def test_pytorchs_ways_stand_with_their_origin_and_those_without_a_time_are_named(page):
    table = text(page.partition('aria-label="PyTorch\'s own ways"')[2].partition("</table>")[0])
    assert "PyTorch eager 8.5000 ms" in table
    assert "the bytes of 2 operations" in table
    assert "torch.compile unknown not estimated: it has to run on a GPU" in table


def test_a_way_of_pytorch_that_was_to_be_measured_and_has_no_time_is_named(record):
    missing = (Baseline(name="max-autotune", ms=None, origin="not measured: over the time limit"),)
    told = text(render(beside(record).model_copy(update={"baselines": missing})))
    assert "torch.compile (max-autotune): not measured: over the time limit" in told


def test_the_page_says_what_limits_the_best_kernel_or_why_that_is_not_known(record, page):
    told = text(page.partition('id="next"')[2].partition("</section>")[0])
    assert "Memory bound, at 50 % of the roofline" in told
    assert "No later round began from it" in told
    assert "narrow_loads : 2 of 2 loads. Load 16 bytes at once." in told
    small = made_up_record(rounds=1, slots=3)
    assert "Not known: no build." in render(small.model_copy(update={"limits": Limits(note="no build")}))
    parent = render(small.model_copy(update={"limits": record.limits.model_copy(update={"as_parent": True})}))
    assert "As it was profiled and diagnosed as a parent." in parent


def test_verified_sizes_stand_at_the_top_and_a_failing_check_says_so_in_words(record, page):
    assert "Verified on small tiles (M=64, K=256); never at the size that its time is of (m)." in page
    wrong = next(one.name for one in record.trials if one.verdict == "incorrect" and f'id="k-{one.name}"' in page)
    told = article(wrong, page)
    assert "2 checks behind the verdict, 1 over what is allowed" in told
    assert "small tiles integer 3.75 0.0625 over" in told
    assert "and on no other size" in told


def test_an_interval_that_nothing_has_is_no_column_and_every_child_is_named(record, page):
    assert "95 % interval" not in article(record.final.best_name, page)
    told = article("r0a0s0", page)
    children = [trial.name for trial in record.trials if trial.parent == record.trials[0].kernel]
    assert len(children) > 12
    assert all(name in told for name in children)


def test_tokens_that_are_estimated_are_marked(record):
    from tests.report.test_report_page import asked

    measured = asked(record)
    costs = tuple(one.model_copy(update={"estimated": True}) for one in measured.costs)
    assert "≈ 900" not in render(measured)
    assert "≈ 1,800" in render(measured.model_copy(update={"costs": costs}))
