"""Draw a comparison as charts of Altair: best so far at each budget, and the runs at the whole budget."""

from __future__ import annotations

import altair as alt

from kopt.comparison.budget import TITLES, Over
from kopt.comparison.standings import Comparison
from kopt.report.figures.chart import SHAPES, Chart, data


def _title(comparison: Comparison) -> str:
    kind = "" if comparison.kind == "measured" else f", {comparison.kind}"
    return f"speedup over the seed{kind}"


def curves(comparison: Comparison, problem: str, over: Over) -> Chart:
    """Draw the median of the best so far of each strategy on a problem, with the band between its quartiles."""
    rows = [
        one.model_dump(include={"label", "spent", "speedup", "low", "high"})
        | {"text": f"{one.label} after {one.spent:g} {TITLES[over]}: {one.speedup:.3f}x"}
        for one in comparison.curves
        if (one.problem, one.over) == (problem, over)
    ]
    x = alt.X("spent:Q", title=TITLES[over], axis=alt.Axis(grid=False, format="d" if over == "slots" else "~g"))
    scale = alt.Scale(zero=False, nice=False, padding=8)
    legend = alt.Legend(symbolType="stroke", symbolOpacity=1, symbolStrokeWidth=2.5)
    colour = alt.Color("label:N", title="strategy", scale=alt.Scale(domain=list(comparison.labels)), legend=legend)
    base = alt.Chart(data(rows)).encode(x=x, color=colour)
    band = base.mark_area(opacity=0.15, interpolate="step-after", aria=False).encode(
        y=alt.Y("low:Q", scale=scale, title=_title(comparison)), y2="high:Q"
    )
    line = base.mark_line(interpolate="step-after", strokeWidth=2.5).encode(
        y=alt.Y("speedup:Q", scale=scale, title=_title(comparison)), description="text:N",
        strokeDash=alt.StrokeDash("label:N", title="strategy", scale=alt.Scale(domain=list(comparison.labels))),
        tooltip=[alt.Tooltip("label:N", title="strategy"), alt.Tooltip("spent:Q", title=TITLES[over]),
                 alt.Tooltip("speedup:Q", title="median speedup", format=".4g"),
                 alt.Tooltip("low:Q", title="first quartile", format=".4g"),
                 alt.Tooltip("high:Q", title="third quartile", format=".4g")],
    )  # fmt: skip
    return alt.layer(band, line).properties(width="container", height=260)


def runs(comparison: Comparison) -> Chart:
    """Draw the speedup of every run at the whole budget of slots, a row for each problem and strategy."""
    rows = [
        {
            "place": f"{one.problem}, {one.label}", "label": one.label, "run": one.run, "seed": one.seed,
            "speedup": one.speedup, "text": f"{one.run}: {one.speedup:.3f}x",
        }
        for one in comparison.entrants
    ]  # fmt: skip
    order = sorted({str(row["place"]) for row in rows})
    labels = list(comparison.labels)
    shapes = [SHAPES[place % len(SHAPES)] for place in range(len(labels))]
    chart: Chart = (
        alt.Chart(data(rows))
        .mark_point(filled=True, size=70, opacity=0.7)
        .encode(
            x=alt.X("speedup:Q", title=_title(comparison), scale=alt.Scale(zero=False)),
            y=alt.Y("place:N", title=None, sort=order), description="text:N",
            color=alt.Color("label:N", title="strategy", scale=alt.Scale(domain=labels)),
            shape=alt.Shape("label:N", title="strategy", scale=alt.Scale(domain=labels, range=shapes)),
            tooltip=[alt.Tooltip("run:N"), alt.Tooltip("seed:Q"), alt.Tooltip("speedup:Q", format=".4g")],
        )
        .properties(width="container", height=22 * max(len(order), 1))
    )  # fmt: skip
    return chart
