"""Render a comparison as one HTML page that loads nothing from any network, in the style of a run's report."""

from __future__ import annotations

from pathlib import Path

from altair.utils.schemapi import debug_mode
from jinja2 import FileSystemLoader
from markupsafe import Markup

from kopt.comparison import figures
from kopt.comparison.budget import OVER, TITLES, Over
from kopt.comparison.lines import amount, spread_text, three_decimals
from kopt.comparison.standings import Comparison, overall
from kopt.report.figures.spec import specs_json
from kopt.report.numbers import milliseconds, percent
from kopt.report.render import TEMPLATES as REPORT_TEMPLATES
from kopt.report.render import frame, page_environment

TEMPLATES = Path(__file__).parent / "templates"


def render_comparison(comparison: Comparison) -> str:
    """Render a comparison as HTML; equal comparisons give equal bytes."""
    environment = page_environment(comparison.kind != "measured").overlay(
        loader=FileSystemLoader([TEMPLATES, REPORT_TEMPLATES])
    )
    overs: list[Over] = [over for over in OVER if over not in comparison.unavailable]
    with debug_mode(False):
        drawn = {
            _plot(problem, over): figures.curves(comparison, problem, over)
            for problem in comparison.problems
            for over in overs
        } | {"runs": figures.runs(comparison)}
    return environment.get_template("compare.html.j2").render(
        comparison=comparison, overs=overs, titles=TITLES, amount=amount, spread=spread_text, percent=percent,
        three_decimals=three_decimals, milliseconds=milliseconds, plot=_plot,
        overall={(label, over): overall(comparison, label, over) for label in comparison.labels for over in overs},
        figures=Markup(specs_json(drawn)), **frame(),
    )  # fmt: skip


def _plot(problem: str, over: Over) -> str:
    return f"curve-{over}-{problem}"
