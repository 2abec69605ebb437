"""Share the parts of figures: data, titles, shapes of marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt

Chart = alt.Chart | alt.LayerChart | alt.FacetChart

SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")


def data(rows: Sequence[Mapping[str, object]]) -> alt.InlineData:
    """Return rows as the data of a chart, inside of it."""
    return alt.InlineData(values=[dict(row) for row in rows])


def time_title(estimated: bool) -> str:
    """Name the axis of times."""
    return "estimated time, ms" if estimated else "time, ms"


def shapes(models: Sequence[str]) -> list[str]:
    """Return the shape of each model's marks."""
    return [SHAPES[place % len(SHAPES)] for place in range(len(models))]
