"""Text of others shows on the page as text, and runs nowhere."""

import json
import re

from kopt.neutral import visible
from kopt.report.render import charts
from tests.report.pages import HOSTILE, SCRIPTS, Page, hostile, places_of


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


def test_nothing_is_asked_of_a_network(page):
    assert "http" not in re.sub(r'http-equiv="', "", SCRIPTS.sub("", page))
    assert not {"link", "img", "iframe", "object"} & set(Page(page).tags)
    assert all(value.startswith("#") for name, value in Page(page).attributes if name in ("href", "src"))
    assert "default-src 'none'" in page
