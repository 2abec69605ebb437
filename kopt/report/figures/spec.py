"""Turn charts into what the page draws them from: JSON for Vega, in colours that the page's style sheet defines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from kopt.neutral import visible
from kopt.report.figures.chart import Chart

INK, SOFT, LINE, ACCENT = "var(--ink)", "var(--soft)", "var(--line)", "var(--accent)"
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif'

STYLES = 6
"""Colours and shapes for models; a seventh model takes the first one again."""

CONFIG: dict[str, object] = {
    "background": "transparent",
    "font": FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": SOFT, "titleColor": SOFT, "gridColor": LINE, "domainColor": LINE, "tickColor": LINE,
        "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal",
    },
    "legend": {"labelColor": INK, "titleColor": SOFT, "orient": "top", "labelFontSize": 12,
               "layout": {"top": {"anchor": "start", "direction": "vertical", "margin": 8}}},
    "range": {"category": [f"var(--m{place})" for place in range(STYLES)]},
    "text": {"color": INK, "fontSize": 12.5},
    "line": {"color": INK},
    "area": {"color": INK},
    "rule": {"color": SOFT},
    "rect": {"fill": ACCENT, "stroke": ACCENT},
}  # fmt: skip
"""Vega's configuration: colours are variables of the page, so that light, dark and print each get theirs."""


def specs_json(charts: Mapping[str, Chart]) -> str:
    """Write the specifications of charts as JSON that may stand inside a `script` element.

    Charts share the data that they have in common.  Foreign text in them is data of the charts alone: control
    characters are made visible, and characters that could end the element are escaped.

    Returns:
        `{"config": ..., "datasets": {...}, "charts": {name: specification}}`.
    """
    shown = {name: _shown(chart.to_dict(validate=False)) for name, chart in charts.items()}
    datasets = {key: rows for spec in shown.values() for key, rows in spec.pop("datasets", {}).items()}
    page = {"config": CONFIG, "datasets": datasets, "charts": shown}
    text = json.dumps(page, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {key: _shown(one) for key, one in value.items()}
    return [_shown(one) for one in value] if isinstance(value, list | tuple) else value
