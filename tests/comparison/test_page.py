"""The page of a comparison: self-contained, in order, text as text, valid figures, drawn by a browser."""

import contextlib
import json
import re
import shutil

import altair
import pytest
from made_up_entrants import entrant, field, spent

from kopt.comparison import figures
from kopt.comparison.page import render_comparison
from kopt.comparison.standings import compare
from kopt.report.render import MOST_BYTES
from tests.report.pages import HOSTILE, Page

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SCRIPTS = re.compile(r"<script.*?</script>", re.DOTALL)


@pytest.fixture(scope="module")
def comparison():
    runs = field({"beam": [1.0, 0.9, 0.8], "clustered": [0.7, 0.9, 0.6]}, problems=("softmax", "rmsnorm"))
    return compare([spent(one, 0.01) for one in runs], "c", notes=("results/c/x left out: not ended",))


@pytest.fixture(scope="module")
def page(comparison):
    return render_comparison(comparison)


def test_the_page_loads_nothing_and_closes_its_tags(page):
    parsed = Page(SCRIPTS.sub("", page))
    assert parsed.open == []
    assert not [value for name, value in parsed.attributes if name in ("src", "href") and not value.startswith("#")]
    assert "script-src 'sha256-" in page
    assert len(page.encode()) < MOST_BYTES


def test_the_page_says_once_what_its_numbers_are_and_what_weakens_it(page):
    text = SCRIPTS.sub("", page)
    assert text.count("the answer holds for the estimate alone") == 1
    assert "results/c/x left out: not ended" in text
    assert "Not compared at equal GPU seconds: no GPU was used: times are not measured." in text
    assert text.count("<h2") == 4  # notes, pairs at equal slots and dollars, all runs


def test_equal_comparisons_give_equal_pages(comparison, page):
    assert render_comparison(comparison) == page


def test_figures_are_valid_and_hold_every_strategy(comparison):
    for chart in (figures.curves(comparison, "softmax", "slots"), figures.runs(comparison)):
        assert isinstance(chart, altair.TopLevelMixin)
        drawn = json.dumps(chart.to_dict(validate=True))
        assert all(label in drawn for label in comparison.labels)


def test_names_of_runs_strategies_and_problems_are_text(page):
    label = f"beam {HOSTILE}"
    hostile = render_comparison(compare([entrant(label, best=(1.0,)), entrant("clustered", HOSTILE)], HOSTILE))
    assert "<img" not in SCRIPTS.sub("", hostile)
    assert hostile.count("<script") == page.count("<script")
    assert Page(SCRIPTS.sub("", hostile)).open == []


@pytest.mark.xdist_group("chromium")
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium")
def test_a_browser_draws_every_figure_without_a_word_on_the_console(page, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    (tmp_path / "compare.html").write_text(page, encoding="utf-8")
    said = []
    with (
        playwright.sync_playwright() as driver,
        contextlib.closing(driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])) as browser,
    ):
        for width in (1400, 400):
            shown = browser.new_page(viewport={"width": width, "height": 900})
            shown.on("console", lambda message: said.append(message.text))
            shown.on("pageerror", lambda error: said.append(str(error)))
            shown.goto(f"file://{tmp_path}/compare.html")
            shown.wait_for_function("document.querySelectorAll('.plot svg').length >= 5")
            assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert said == []
