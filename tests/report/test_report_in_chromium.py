"""The report in a real browser: Debian's Chromium, driven by playwright; skipped where there is none."""

import contextlib
import shutil
from itertools import pairwise

import pytest

from kopt.report.chosen import shown_trials
from kopt.report.outcomes import failures, kind_of
from kopt.report.render import render
from kopt.report.tables import correct_trials
from tests.report.pages import HOSTILE, asked, hostile, on_a_gpu

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium"),
    pytest.mark.xdist_group("chromium"),
]
SCRIPTED = f"javascript:alert(1) {{{{7*7}}}} ${{alert(2)}} datum.x[alert(3)] {HOSTILE}"
WIDTHS = {"wide": {"width": 1400, "height": 900}, "phone": {"width": 400, "height": 800}}


LONG = f"Make it {'faster and ' * 300}faster.\n```python\n{'x + ' * 300}1\n```\n"
"""A prompt with a long line of prose and a long line of code."""


def told(record):
    """The same run with a long prompt of the seed kernel."""
    kernels = [
        one.model_copy(update={"exchange": one.exchange.model_copy(update={"prompt": LONG, "reply": ""})})
        if one.name == "r0a0s0"
        else one
        for one in record.kernels
    ]
    return record.model_copy(update={"kernels": tuple(kernels)})


@pytest.fixture(scope="module")
def browser():
    with (
        playwright.sync_playwright() as driver,
        contextlib.closing(driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])) as browser,
    ):
        yield browser


@pytest.fixture(scope="module")
def files(record, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.report.pages.HOSTILE", SCRIPTED)
        pages = {"plain": asked(told(record)), "hostile": asked(hostile(record), SCRIPTED), "gpu": on_a_gpu(record)}
    for name, one in pages.items():
        (folder / f"{name}.html").write_text(render(one), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def opened(browser, files):
    """Open a page and wait for its figures; whatever the browser complains of, or a dialog says, is in `said`.

    A page that was opened before, in the same way, is given again as its last test left it.
    """
    pages = {}

    def open_page(name="plain", size="wide", fragment="", **options):
        key = (name, size, fragment, *options.items())
        if key not in pages:
            pages[key] = new_page(name, size, fragment, **options)
        return pages[key]

    def new_page(name, size, fragment, **options):
        page = browser.new_page(viewport=WIDTHS[size], reduced_motion="reduce", **options)
        page.said = []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("dialog", lambda dialog: (page.said.append(dialog.message), dialog.dismiss()))
        page.on(
            "request", lambda asked: None if asked.url.startswith(("file:", "blob:")) else page.said.append(asked.url)
        )
        page.goto(f"file://{files / name}.html{fragment}")
        page.wait_for_function("document.querySelectorAll('.plot svg').length >= 5")
        return page

    return open_page


@pytest.mark.parametrize("size", WIDTHS)
@pytest.mark.parametrize("name", ["plain", "hostile"])
def test_every_figure_is_drawn_without_a_word_on_the_console_and_nothing_overflows(opened, name, size):
    page = opened(name, size)
    for radio in page.query_selector_all("fieldset input"):
        radio.check()
        page.wait_for_selector(f"#plot-{radio.get_attribute('value')} svg")
    assert page.said == []
    assert page.locator(".plot svg").count() == page.locator("[data-figure]").count()
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[size]["width"]


def test_hostile_text_shows_as_text_and_runs_nowhere(opened):
    page = opened("hostile")
    page.locator("input[value=best-x]").check()
    page.evaluate("document.querySelectorAll('details').forEach(one => (one.open = true))")
    for mark in page.query_selector_all("#plot-best-x [role=link]")[:3]:
        mark.hover(force=True)
    assert "javascript:alert(1) {{7*7}}" in page.locator("#vg-tooltip-element").text_content()
    assert page.locator("img, iframe, a[href^='javascript']").count() == 0
    assert page.evaluate("document.querySelectorAll('script').length") == 2
    assert page.said == []


def test_the_security_policy_allows_no_script_of_another(opened):
    page = opened()
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=document.title=1>')")
    page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'document.title = 2'}))")
    page.wait_for_timeout(100)
    assert "matvec-demo" in page.title()
    assert any("Content Security Policy" in text for text in page.said)
    page.said.clear()


def test_a_mark_of_the_lineage_opens_its_kernel_by_mouse_and_by_keyboard(opened, record):
    page = opened()
    mark = page.locator("#plot-lineage [role=link]").last
    name = mark.get_attribute("aria-label").partition(",")[0]
    mark.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(f"#k-{name}[open]")
    assert page.evaluate("document.activeElement.parentElement.id") == f"k-{name}"
    page.locator("#plot-lineage [role=link]").first.click(force=True)
    page.wait_for_selector(f"#k-{record.trials[0].name}[open]")


def test_an_address_with_a_kernels_name_opens_it_with_diff_build_checks_and_prompt(opened, record):
    page = opened(fragment=f"#k-{record.final.best_name}")
    kernel = page.locator(f"#k-{record.final.best_name}")
    assert kernel.get_attribute("open") is not None
    texts = kernel.locator("summary").all_text_contents()
    for part in ("1 check behind", "Build:", "Build against the parent", "Source against", "Source,", "Profile",
                 "Diagnosis", "Prompt", "Reply"):  # fmt: skip
        assert any(text.startswith(part) or part in text for text in texts), part


def test_candidates_are_filtered_and_sorted_by_keyboard(opened, record):
    page = opened()
    rows = page.locator("#candidates-table tbody tr:not([hidden])")
    everyone = rows.count()
    page.locator("form select[name=outcome]").select_option("wrong result")
    wrong = [trial for trial in record.trials if kind_of(trial).words == "wrong result"]
    assert rows.count() == len(wrong) < everyone
    assert page.locator("form output").text_content() == f"{len(wrong)} of {everyone} shown"
    page.locator("form select[name=outcome]").select_option("correct")
    button = page.locator("#candidates-table thead button").nth(2)
    button.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert page.locator("#candidates-table th[aria-sort]").get_attribute("aria-sort") == "descending"
    slowest = max((trial for trial in record.trials if trial.time_ms), key=lambda trial: trial.time_ms)
    assert rows.first.locator("th").text_content() == slowest.name


def test_candidates_of_a_direction_are_found_and_equal_figures_are_sorted_by_what_is_behind_them(opened, record):
    page = opened(size="phone")
    rows = page.locator("#candidates-table tbody tr:not([hidden])")
    page.locator("form input[name=text]").fill("shallow_pipeline")
    wanted = {name for name, fix in record.asked_to_fix.items() if fix == "shallow_pipeline"}
    assert set(rows.locator("th").all_text_contents()) == wanted
    page.locator("form input[name=text]").fill("")
    page.locator("form select[name=outcome]").select_option("correct")
    page.locator("#candidates-table thead button").nth(3).click()
    names = rows.locator("th").all_text_contents()
    times = {trial.name: trial.time_ms for trial in record.trials}
    assert [times[name] for name in names] == sorted((times[name] for name in names), reverse=True)
    page.locator("#candidates-table thead button").nth(5).click()
    by_model = rows.evaluate_all("rows => rows.map(row => [row.cells[5].textContent, row.cells[0].textContent])")
    first_order = [trial.name for trial in shown_trials(record)]
    assert by_model == sorted(by_model, key=lambda row: (row[0], first_order.index(row[1])))
    first = page.locator("#candidates-table tbody tr td").nth(1)
    assert first.bounding_box()["x"] + first.bounding_box()["width"] <= WIDTHS["phone"]["width"]


@pytest.mark.parametrize("size", WIDTHS)
def test_a_long_line_of_a_prompt_wraps_and_code_keeps_its_lines(opened, size):
    page = opened(size=size)
    page.evaluate("location.hash = '#k-r0a0s0'")
    kernel = page.locator("#k-r0a0s0[open]")
    kernel.evaluate("one => one.querySelectorAll('details').forEach(part => (part.open = true))")
    prose, code = kernel.locator("pre .prose"), kernel.locator("pre .code")
    assert prose.evaluate("one => one.getClientRects().length && one.scrollWidth <= one.clientWidth")
    assert code.evaluate("one => getComputedStyle(one).whiteSpace") == "pre"
    assert kernel.locator("pre.wrapped").first.text_content() == LONG


def test_on_a_phone_tables_stand_as_lists_with_the_names_of_their_columns_and_can_be_sorted(opened, record):
    page = opened(size="phone", fragment=f"#k-{record.final.best_name}")
    page.evaluate("document.querySelectorAll('details').forEach(one => (one.open = true))")
    page.wait_for_selector("#candidates-table.stacked")
    page.wait_for_timeout(300)
    wide = page.locator(".scroll:has(table)").evaluate_all(
        "all => all.filter(one => one.scrollWidth > one.clientWidth + 1).map(one => one.ariaLabel)"
    )
    assert wide == []
    row = page.locator(f"#t-{record.final.best_name}")
    labels = row.evaluate("row => [...row.cells].map(cell => getComputedStyle(cell, '::before').content)")
    assert labels[:3] == ['"candidate "', '"outcome"', '"time, estimated"']
    assert row.get_attribute("role") == "row"
    page.locator("#candidates-table thead button").first.click()
    names = page.locator("#candidates-table tbody tr th").all_text_contents()
    assert names[0] == "r0a0s0"
    page.emulate_media(media="print")
    assert (
        page.locator("#candidates-table tbody tr").first.evaluate("row => getComputedStyle(row).display") == "table-row"
    )


def test_the_slider_of_the_clusters_names_the_fastest_kernel_of_the_rounds_that_it_leaves(opened, record):
    page = opened()
    page.wait_for_selector("#plot-clusters input[type=range]")
    for last in (1, 0):
        page.locator("#plot-clusters input[type=range]").fill(str(last))
        kept = {trial.name for trial in record.trials if trial.round <= last}
        told = page.locator("#plot-clusters svg .mark-text text").filter(has_text=" ms")
        page.wait_for_timeout(200)
        names = {text.partition(",")[0] for text in told.all_text_contents()}
        assert names
        assert names <= kept
        assert correct_trials([trial for trial in record.trials if trial.round <= last])[0].name in names


def test_why_a_candidate_failed_wraps(opened, record):
    name = next(kind.example.name for kind in failures(record.trials) if kind.example.verdict == "failed")
    message = opened(size="phone", fragment=f"#k-{name}").locator(f"#k-{name} pre.message")
    message.evaluate("one => (one.firstChild.textContent = 'OutOfBounds: '.repeat(60) + 'x'.repeat(300))")
    assert message.evaluate("one => one.clientWidth > 0 && one.scrollWidth <= one.clientWidth")


@pytest.mark.parametrize("size", WIDTHS)
def test_the_labels_of_an_axis_are_plain_numbers_apart_from_each_other(opened, size):
    page = opened("gpu", size=size)
    for over in ("calls", "dollars", "judge_s"):
        page.locator(f"input[value=best-{over}]").check()
        page.wait_for_selector(f"#plot-best-{over} svg")
        labels = page.locator(f"#plot-best-{over} .role-axis-label").first.locator("text")
        boxes = labels.evaluate_all(
            "all => all.filter(one => one.textContent && one.getAttribute('opacity') !== '0')"
            ".map(one => [one.textContent, one.getBoundingClientRect().left, one.getBoundingClientRect().right])"
        )
        assert len(boxes) >= 3
        assert all(float(text) >= 0 and "e" not in text for text, _, _ in boxes)
        assert all(before[2] < after[1] for before, after in pairwise(boxes))


def test_the_strip_reaches_both_edges_and_leads_back_to_the_top(opened):
    for size, shape in WIDTHS.items():
        page = opened(size=size)
        page.evaluate("scrollTo(0, 2000)")
        box = page.locator(".strip").bounding_box()
        assert (box["x"], box["y"], box["width"]) == (0, 0, shape["width"])
        page.locator(".strip a").click()
        page.wait_for_function("scrollY < 60")


def test_what_is_shown_can_be_saved_and_copied(opened, record):
    page = opened(fragment="#k-r0a0s0")
    with page.expect_download() as csv:
        page.locator("[aria-label='download CSV: candidates']").click()
    lines = csv.value.path().read_text().splitlines()
    assert len(lines) == 1 + len(record.trials)
    with page.expect_download() as figure:
        page.locator("#plot-best-x button").click()
    svg = figure.value.path().read_text()
    assert svg.startswith("<svg")
    assert "var(--" not in svg
    page.locator("#diff ~ .buttons button").last.scroll_into_view_if_needed()
    with page.expect_download() as source:
        page.locator("[aria-label='download: Source of the best kernel']").click()
    assert source.value.path().read_text() == record.best_source
    page.locator("[aria-label='copy: Source of the best kernel']").click()
    page.get_by_text("copied", exact=True).wait_for()


def test_a_reader_of_the_screen_finds_landmarks_and_names(opened):
    page = opened()
    tree = page.locator("body").aria_snapshot()
    for part in ("banner", "navigation \"Sections\"", "main", "heading \"Lineage of the best kernel\"",
                 "search \"Filter the candidates\"", "group \"Lineage of the selected kernels\""):  # fmt: skip
        assert part in tree
    unnamed = (
        "[...document.querySelectorAll('button, input, select, a, summary')].filter(one => !(one.textContent.trim()"
    )
    unnamed += " || one.ariaLabel || one.labels?.length)).length"
    assert page.evaluate(unnamed) == 0


def test_dark_and_print_have_colours_of_their_own(opened):
    ink = "getComputedStyle(document.querySelector('#plot-best-x svg text')).fill"
    light, dark = opened(), opened(color_scheme="dark")
    assert light.evaluate(ink) != dark.evaluate(ink)
    dark.emulate_media(media="print")
    assert dark.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert dark.locator(".filters").is_hidden()


def test_without_javascript_every_table_and_kernel_is_there(browser, files, record):
    page = browser.new_page(java_script_enabled=False)
    page.goto(f"file://{files / 'plain'}.html")
    assert page.locator("#candidates-table tbody tr").count() == len(record.trials)
    assert page.locator("details.kernel").count() == len(record.kernels)
    page.close()
