"""Draw the figures of a run as charts of Altair: values in, charts out, no colours of a page.

The page draws them with Vega in its own colours (`kopt.report.spec`), a notebook as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt

from kopt.report.lineage import NODE_HEIGHT, NODE_WIDTH, Graph
from kopt.report.numbers import milliseconds
from kopt.report.rows import Row

Chart = alt.Chart | alt.LayerChart | alt.FacetChart

SLOWEST = 2.0
"""The frame ends at this many times the seed's time, so that one very slow kernel does not flatten all others."""

AXES = {
    "x": "round",
    "calls": "calls of proposers",
    "dollars": "cost of the replies, US dollars",
    "judge_s": "seconds of the jobs that judge",
}
"""Titles of what the best time so far is drawn over, by the column of `progress_rows`."""

SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")
BEST, SEED, FLOOR = "best so far", "seed", "roofline floor"


def data(rows: Sequence[Mapping[str, object]]) -> alt.InlineData:
    """Return rows as the data of a chart, inside of it."""
    return alt.InlineData(values=[dict(row) for row in rows])


def axis_title(over: str, gpu: bool) -> str:
    """Name what the best time so far is drawn over; jobs that judge hold a GPU where kernels are measured."""
    return "GPU seconds" if over == "judge_s" and gpu else AXES[over]


def time_title(estimated: bool) -> str:
    """Name the axis of times."""
    return "estimated time, ms" if estimated else "time, ms"


def best_so_far(
    rows: Sequence[Row], over: str, *, seed_ms: float, floor_ms: float, models: Sequence[str], estimated: bool,
    gpu: bool = False,
) -> Chart:  # fmt: skip
    """Draw every correct candidate, and the best time so far, over what was spent.

    A candidate slower than `SLOWEST` times the seed is drawn at that time, and told with its own.

    Args:
        rows: `progress_rows` of the run.
        over: a key of `AXES`.
        seed_ms: time of the seed kernel, ms.
        floor_ms: roofline floor, ms.
        models: proposers in the order of their colours.
        estimated: whether the times are estimates.
        gpu: whether the jobs that judge held a GPU.
    """
    slowest = SLOWEST * seed_ms
    high = max([seed_ms, *(min(ms, slowest) for row in rows if isinstance(ms := row["ms"], float))])
    low = min([floor_ms * 0.95, seed_ms, *(ms for row in rows if isinstance(ms := row["best_ms"], float))])
    scale = alt.Scale(type="log", domain=[low * 0.95, high * 1.05], nice=False)
    time = alt.Y("shown_ms:Q", title=time_title(estimated), scale=scale)
    whole = over in ("x", "calls")
    axis = alt.X(
        f"{over}:Q",
        title=axis_title(over, gpu),
        axis=alt.Axis(
            grid=False,
            format="d" if whole else "~f",
            tickMinStep=1 if whole else 0,
            tickCount=8,
            labelOverlap="greedy",
            labelSeparation=6,
        ),
    )
    shown = [
        {name: row[name] for name in (*AXES, "name", "model", "ms")} | {"shown_ms": min(ms, slowest)}
        for row in rows
        if isinstance(ms := row["ms"], float)
    ]
    dots = (
        alt.Chart(data(shown))
        .transform_calculate(text="datum.name + ', ' + datum.model + ', ' + format(datum.ms, '.4g') + ' ms'")
        .mark_point(filled=True, size=46, opacity=0.8)
        .encode(
            x=axis, y=time,
            color=alt.Color("model:N", title="proposer", scale=alt.Scale(domain=list(models))),
            shape=alt.Shape("model:N", title="proposer", scale=alt.Scale(domain=list(models), range=_shapes(models))),
            description="text:N",
            tooltip=[alt.Tooltip("name:N"), alt.Tooltip("model:N"),
                     alt.Tooltip("ms:Q", title=time_title(estimated), format=".4g")],
        )
    )  # fmt: skip
    best = (
        alt.Chart(data(_steps(rows, over)))
        .mark_line(interpolate="step-after", strokeWidth=2.5)
        .encode(x=axis, y=alt.Y("best_ms:Q", scale=scale), description=alt.value(BEST))
    )
    levels = [
        {"level": name, "ms": ms, "text": f"{name} {milliseconds(ms)}"}
        for name, ms in ((SEED, seed_ms), (FLOOR, floor_ms))
    ]
    marks = alt.Chart(data(levels))
    rules = marks.mark_rule(strokeWidth=1.5).encode(
        y=alt.Y("ms:Q", scale=scale), description="text:N",
        strokeDash=alt.StrokeDash(
            "level:N", legend=None, scale=alt.Scale(domain=[SEED, FLOOR], range=[[7, 5], [2, 4]])
        ),
    )  # fmt: skip
    names = [
        alt.Chart(data([level]))
        .mark_text(align="right", x="width", dy=dy, aria=False)
        .encode(y=alt.Y("ms:Q", scale=scale), text="text:N")
        for level, dy in zip(levels, (-7, 9), strict=True)
    ]
    zoom = alt.selection_interval(bind="scales", encodings=["x"], zoom="wheel![event.ctrlKey]")
    return alt.layer(rules, best, dots.add_params(zoom), *names).properties(width="container", height=340)


def _shapes(models: Sequence[str]) -> list[str]:
    return [SHAPES[place % len(SHAPES)] for place in range(len(models))]


def _ms(value: object) -> str:
    return milliseconds(value) if isinstance(value, float) else "no time"


def _steps(rows: Sequence[Row], over: str) -> list[Row]:
    """Return the points at which the best time changes, and the last one."""
    known = [{over: row[over], "best_ms": row["best_ms"]} for row in rows if row[over] is not None and row["best_ms"]]
    if over == "x":
        known.sort(key=lambda row: float(str(row["x"])))
    low, points = float("inf"), []
    for place, row in enumerate(known):
        low_before, low = low, min(low, float(str(row["best_ms"])))
        if low < low_before or place == len(known) - 1:
            points.append({over: row[over], "best_ms": low})
    return points


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


def roofline(rows: Sequence[Row], roofs: Sequence[Row], *, models: Sequence[str], estimated: bool) -> Chart:
    """Draw kernels under the roofline: rate of arithmetic over operations per byte, both on logarithmic scales."""
    few = alt.Axis(format="~g", tickCount=4, grid=False)
    x = alt.X("intensity:Q", title="operations per byte", scale=alt.Scale(type="log", nice=False), axis=few)
    rate = "estimated TFLOP/s" if estimated else "TFLOP/s"
    y = alt.Y("tflop_s:Q", title=rate, scale=alt.Scale(type="log"), axis=few)
    names = list(dict.fromkeys([*models, *(str(row["model"]) for row in rows)]))
    shown = [row | {"text": f"{row['name']} on {row['workload']}: {row['tflop_s']:.3g} {rate}"} for row in rows]
    lines = alt.Chart(data(roofs)).mark_line(strokeWidth=1.5).encode(
        x=x, y=y, detail="workload:N", description=alt.value("roof of the device")
    )  # fmt: skip
    corners = alt.Chart(data([row for row in roofs if row["text"]])).mark_text(
        align="right", dx=-8, dy=-6, aria=False
    ).encode(x=x, y=y, text="text:N")  # fmt: skip
    points = (
        alt.Chart(data(shown))
        .mark_point(filled=True, size=60, opacity=0.8)
        .encode(
            x=x, y=y, description="text:N",
            color=alt.Color("model:N", title="proposer", scale=alt.Scale(domain=names)),
            shape=alt.Shape("model:N", title="proposer", scale=alt.Scale(domain=names, range=_shapes(names))),
            tooltip=[alt.Tooltip("name:N"), alt.Tooltip("model:N"), alt.Tooltip("workload:N"),
                     alt.Tooltip("tflop_s:Q", title=rate, format=".3g"), alt.Tooltip("ms:Q", format=".4g")],
        )
    )  # fmt: skip
    return alt.layer(lines, corners, points).properties(width="container", height=340)


def clusters(rows: Sequence[Row], taxonomy: Sequence[str], rounds: int) -> Chart:
    """Draw clusters over techniques, with a slider for the last round that counts."""
    shown = sorted(rows, key=lambda row: float(str(row["ms"])))
    order = list(dict.fromkeys(str(row["cluster"]) for row in shown))
    slider = alt.binding_range(min=0, max=max(rounds, 1), step=1, name="up to round ")
    last = alt.param(name="last", value=rounds, bind=slider)
    used = {name for row in rows if isinstance(names := row["techniques"], list) for name in names}
    chart: Chart = (
        alt.Chart(data(shown))
        .mark_rect(strokeWidth=0)
        .transform_filter("datum.round <= last")
        .transform_flatten(["techniques"], ["technique"])
        .encode(
            x=alt.X("technique:N", title=None, sort=[*taxonomy, "none"], axis=alt.Axis(labelAngle=-60, labelLimit=220),
                    scale=alt.Scale(domain=[name for name in (*taxonomy, "none") if name in used])),
            y=alt.Y("cluster:N", title="cluster, by its fastest kernel", sort=order, scale=alt.Scale(domain=order)),
            opacity=alt.Opacity("sum(kernels):Q", title="kernels", scale=alt.Scale(range=[0.55, 1])),
            tooltip=[alt.Tooltip("cluster:N"), alt.Tooltip("technique:N"),
                     alt.Tooltip("sum(kernels):Q", title="kernels"),
                     alt.Tooltip("min(ms):Q", title="fastest, ms", format=".4g")],
        )
        .add_params(last)
        .properties(width=alt.Step(26), height=alt.Step(20))
    )  # fmt: skip
    return chart


def timeline(rows: Sequence[Row], gpu: bool) -> Chart:
    """Draw when each job worked, a line for each rule; with a GPU, its jobs stand out."""
    order = list(dict.fromkeys(str(row["rule"]) for row in rows))
    shown: list[Row] = [
        row
        | {
            "when": _when(row),
            "kind": ("holds the GPU" if row["gpu"] else "without the GPU") if gpu else "works",
            "text": f"{row['rule']}, {_when(row)}: {row['seconds']} s from {row['began_s']} s on",
        }
        for row in rows
    ]
    kinds = ["holds the GPU", "without the GPU"] if gpu else ["works"]
    chart: Chart = (
        alt.Chart(data(shown))
        .mark_bar(minBandSize=2)
        .encode(
            x=alt.X("began_s:Q", title="seconds since the first job", axis=alt.Axis(tickCount=8)), x2="ended_s:Q",
            y=alt.Y("rule:N", title=None, sort=order),
            color=alt.Color("kind:N", title=None, scale=alt.Scale(domain=kinds), legend=alt.Legend() if gpu else None),
            description="text:N",
            tooltip=[alt.Tooltip("rule:N"), alt.Tooltip("when:N", title="of"), alt.Tooltip("seconds:Q"),
                     alt.Tooltip("kind:N", title="GPU")] if gpu else
                    [alt.Tooltip("rule:N"), alt.Tooltip("when:N", title="of"), alt.Tooltip("seconds:Q")],
        )
        .properties(width="container", height=18 * max(len(order), 1))
    )  # fmt: skip
    return chart


def _when(row: Row) -> str:
    """Name the round and the attempt of a job; a job of neither is one of the whole run."""
    parts = [f"{name} {row[name]}" for name in ("round", "attempt") if row[name] is not None]
    return ", ".join(parts) or "the whole run"
