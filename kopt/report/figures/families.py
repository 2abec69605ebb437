"""Draw families of kernels: who descends from whom, and which techniques they use."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from kopt.report.figures.chart import Chart, data
from kopt.report.lineage import NODE_HEIGHT, NODE_WIDTH, Graph
from kopt.report.numbers import milliseconds
from kopt.report.rows import Row


def lineage(graph: Graph) -> Chart:
    """Draw the family of selected kernels, a column per round, with lines from parents to children."""
    nodes: list[Row] = [
        {
            "name": node.trial.name, "x": node.x, "y": node.y, "x2": node.x + NODE_WIDTH, "y2": node.y + NODE_HEIGHT,
            "time": _ms(node.trial.time_ms), "model": node.trial.model, "change": node.trial.description[:200],
            "best": node.on_chain,
            "text": f"{node.trial.name}, {node.trial.model}, {_ms(node.trial.time_ms)}; open",
        }
        for node in graph.nodes
    ]  # fmt: skip
    edges: list[Row] = [
        {
            "x": edge.parent.x + NODE_WIDTH, "y": edge.parent.y + NODE_HEIGHT / 2, "x2": edge.child.x,
            "y2": edge.child.y + NODE_HEIGHT / 2, "best": edge.on_chain,
        }
        for edge in graph.edges
    ]  # fmt: skip
    columns: list[Row] = [
        {"x": x, "y": 12, "title": "seed" if round == 0 else f"round {round}"} for round, x in graph.columns
    ]
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[0, graph.width], nice=False, zero=False))
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[0, graph.height], reverse=True, nice=False, zero=False))
    thick = alt.condition("datum.best", alt.value(3), alt.value(1.2))
    boxes = alt.Chart(data(nodes)).encode(x=x, y=y)
    layers = [
        alt.Chart(data(edges)).mark_rule(aria=False).encode(x=x, y=y, x2="x2:Q", y2="y2:Q", strokeWidth=thick),
        boxes.mark_rect(cornerRadius=4, fillOpacity=0.12, cursor="pointer").encode(
            x2="x2:Q", y2="y2:Q", strokeWidth=thick, description="text:N",
            tooltip=[alt.Tooltip("name:N"), alt.Tooltip("model:N"), alt.Tooltip("time:N"), alt.Tooltip("change:N")],
        ),
        boxes.mark_text(align="left", dx=9, dy=14, fontWeight="bold", aria=False).encode(text="name:N"),
        boxes.mark_text(align="left", dx=9, dy=30, aria=False).encode(text="time:N"),
        alt.Chart(data(columns)).mark_text(align="left", aria=False).encode(x=x, y=y, text="title:N"),
    ]  # fmt: skip
    return alt.layer(*layers).properties(width=graph.width, height=graph.height)


def clusters(rows: Sequence[Row], taxonomy: Sequence[str], rounds: int) -> Chart:
    """Draw clusters over techniques, with a slider for the last round that counts."""
    shown = sorted(rows, key=lambda row: float(str(row["ms"])))
    order = list(dict.fromkeys(str(row["cluster"]) for row in shown))
    slider = alt.binding_range(min=0, max=max(rounds, 1), step=1, name="up to round ")
    last = alt.param(name="last", value=rounds, bind=slider)
    used = {name for row in rows if isinstance(names := row["techniques"], list) for name in names}
    kept = alt.Chart(data(shown)).transform_filter("datum.round <= last")
    y = alt.Y("cluster:N", title="cluster, by its fastest kernel", sort=order, scale=alt.Scale(domain=order))
    cells = (
        kept.mark_rect(strokeWidth=0)
        .transform_flatten(["techniques"], ["technique"])
        .encode(
            x=alt.X("technique:N", title=None, sort=[*taxonomy, "none"], axis=alt.Axis(labelAngle=-60, labelLimit=220),
                    scale=alt.Scale(domain=[name for name in (*taxonomy, "none") if name in used])),
            y=y,
            opacity=alt.Opacity("sum(kernels):Q", title="kernels", scale=alt.Scale(range=[0.55, 1])),
            tooltip=[alt.Tooltip("cluster:N"), alt.Tooltip("technique:N"),
                     alt.Tooltip("sum(kernels):Q", title="kernels"),
                     alt.Tooltip("min(ms):Q", title="fastest, ms", format=".4g")],
        )
    )  # fmt: skip
    fastest = (
        kept.mark_text(align="left", x="width", dx=8)
        .transform_aggregate(fastest="argmin(ms)", groupby=["cluster"])
        .transform_calculate(
            name="datum.fastest.name", text="datum.fastest.name + ', ' + format(datum.fastest.ms, '.4g') + ' ms'"
        )
        .encode(y=y, text="text:N", description="text:N")
    )
    return alt.layer(cells, fastest).add_params(last).properties(width=alt.Step(26), height=alt.Step(20))


def _ms(value: object) -> str:
    return milliseconds(value) if isinstance(value, float) else "no time"
