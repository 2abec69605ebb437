"""Draw the best time so far over what was spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

import altair as alt

from kopt.report.figures.chart import Chart, data, shapes, time_title
from kopt.report.numbers import milliseconds
from kopt.report.rows import Row

SLOWEST = 2.0
"""The frame ends at this many times the seed's time, so that one very slow kernel does not flatten all others."""

AXES = {
    "x": "round",
    "calls": "calls of proposers",
    "dollars": "cost of the replies, US dollars",
    "judge_s": "seconds of the jobs that judge",
}
"""Titles of what the best time so far is drawn over, by the column of `progress_rows`."""

BEST, SEED, FLOOR, OTHER = "best so far", "seed", "roofline floor", "PyTorch"
BAND = "95 % interval of the best time so far"

DASHES = {SEED: (7, 5), OTHER: (12, 3, 2, 3), FLOOR: (2, 4)}
"""Dashes of the lines that show a time."""


def axis_title(over: str, gpu: bool) -> str:
    """Name what the best time so far is drawn over; jobs that judge hold a GPU where kernels are measured."""
    return "GPU seconds" if over == "judge_s" and gpu else AXES[over]


def best_so_far(
    rows: Sequence[Row], over: str, *, seed_ms: float, floor_ms: float, models: Sequence[str], estimated: bool,
    gpu: bool = False, others: Mapping[str, float] | None = None,
) -> Chart:  # fmt: skip
    """Draw every correct candidate, and the best time so far with its 95 % interval as a band, over what was spent.

    Estimates have no interval, and no band.  A candidate slower than `SLOWEST` times the seed is drawn at that time,
    and told with its own.

    Args:
        rows: `progress_rows` of the run.
        over: a key of `AXES`.
        seed_ms: time of the seed kernel, ms.
        floor_ms: roofline floor, ms.
        models: proposers in the order of their colours.
        estimated: whether the times are estimates.
        gpu: whether the jobs that judge held a GPU.
        others: further times to draw as lines, ms, by their names; one beyond the frame lies on its edge and says so.
    """
    slowest = SLOWEST * seed_ms
    levels = _levels({SEED: seed_ms, **(others or {}), FLOOR: floor_ms}, slowest)
    low, high = _frame(rows, levels, floor_ms, slowest)
    scale = alt.Scale(type="log", domain=[low * 0.95, high * 1.05], nice=False)
    time = alt.Y("shown_ms:Q", title=time_title(estimated), scale=scale)
    whole = over in ("x", "calls")
    axis = alt.X(
        f"{over}:Q",
        title=axis_title(over, gpu),
        scale=alt.Scale(nice=False, zero=True, padding=10),
        axis=alt.Axis(
            grid=False,
            format="d" if whole else "~f",
            tickMinStep=1 if whole else 0,
            tickCount=8,
            labelOverlap="greedy",
            labelSeparation=6,
        ),
    )
    dots = _candidates(rows, models, axis, time, slowest, time_title(estimated))
    curve, rules = _curve(_steps(rows, over), axis, scale), _rules(levels, scale)
    zoom = alt.selection_interval(bind="scales", encodings=["x"], zoom="wheel![event.ctrlKey]")
    return alt.layer(rules, *curve, dots.add_params(zoom)).properties(width="container", height=340)


def _frame(rows: Sequence[Row], levels: Sequence[Level], floor_ms: float, slowest: float) -> tuple[float, float]:
    """Return the shortest and the longest time that the figure has to show, ms."""
    lines = [level["ms"] for level in levels]
    high = [min(ms, slowest) for row in rows for name in ("ms", "best_high_ms") if isinstance(ms := row[name], float)]
    low = [ms for row in rows for name in ("best_ms", "best_low_ms") if isinstance(ms := row[name], float)]
    return min([floor_ms * 0.95, *lines, *low]), max([*lines, *high])


def _candidates(
    rows: Sequence[Row], models: Sequence[str], axis: alt.X, time: alt.Y, slowest: float, title: str
) -> alt.Chart:
    """Draw every correct candidate as a mark whose colour and shape show its proposer."""
    shown = [
        {name: row[name] for name in (*AXES, "name", "model", "ms")} | {"shown_ms": min(ms, slowest)}
        for row in rows
        if isinstance(ms := row["ms"], float)
    ]
    names = list(dict.fromkeys([*models, *(str(row["model"]) for row in shown)]))
    dots: alt.Chart = (
        alt.Chart(data(shown))
        .transform_calculate(text="datum.name + ', ' + datum.model + ', ' + format(datum.ms, '.4g') + ' ms'")
        .mark_point(filled=True, size=46, opacity=0.8)
        .encode(
            x=axis, y=time,
            color=alt.Color("model:N", title="proposer", scale=alt.Scale(domain=names)),
            shape=alt.Shape("model:N", title="proposer", scale=alt.Scale(domain=names, range=shapes(names))),
            description="text:N",
            tooltip=[alt.Tooltip("name:N"), alt.Tooltip("model:N"),
                     alt.Tooltip("ms:Q", title=title, format=".4g")],
        )
    )  # fmt: skip
    return dots


def _curve(steps: Sequence[Row], axis: alt.X, scale: alt.Scale) -> list[alt.Chart]:
    """Draw the best time so far, and its interval as a band where there is one."""
    best = (
        alt.Chart(data(steps))
        .mark_line(interpolate="step-after", strokeWidth=2.5)
        .encode(x=axis, y=alt.Y("best_ms:Q", scale=scale), description=alt.value(BEST))
    )
    known = [step for step in steps if step["best_low_ms"] is not None]
    band = (
        alt.Chart(data(known))
        .mark_area(interpolate="step-after", opacity=0.25, clip=True)
        .encode(
            x=axis, y=alt.Y("best_low_ms:Q", scale=scale), y2=alt.Y2("best_high_ms:Q"), description=alt.value(BAND),
        )
    )  # fmt: skip
    return [band, best] if known else [best]


def _rules(levels: Sequence[Level], scale: alt.Scale) -> alt.Chart:
    """Draw the times that are lines."""
    rules: alt.Chart = alt.Chart(data(levels)).mark_rule(strokeWidth=1.5).encode(
        y=alt.Y("ms:Q", scale=scale), description="text:N",
        strokeDash=alt.StrokeDash(
            "text:N", title="lines",
            scale=alt.Scale(
                domain=[level["text"] for level in levels],
                range=[list(DASHES[level["level"]]) for level in levels],
            ),
            legend=alt.Legend(symbolType="stroke", symbolSize=500, symbolStrokeWidth=1.5),
        ),
    )  # fmt: skip
    return rules


class Level(TypedDict):
    """A time that is drawn as a line."""

    level: str
    ms: float
    text: str


def _levels(times: Mapping[str, float], slowest: float) -> list[Level]:
    """Name the times that are drawn as lines, with their times; one beyond the frame lies on its edge and says so."""
    return [
        Level(
            level=name if name in DASHES else OTHER, ms=min(ms, slowest),
            text=f"{name} {milliseconds(ms)}{', beyond the frame' if ms > slowest else ''}",
        )
        for name, ms in times.items()
    ]  # fmt: skip


def _steps(rows: Sequence[Row], over: str) -> list[Row]:
    """Return the points at which the best time changes, and the last one."""
    columns = (over, "best_ms", "best_low_ms", "best_high_ms")
    known = [{name: row[name] for name in columns} for row in rows if row[over] is not None and row["best_ms"]]
    if over == "x":
        known.sort(key=lambda row: float(str(row["x"])))
    points: list[Row] = []
    for place, row in enumerate(known):
        faster = not points or float(str(row["best_ms"])) < float(str(points[-1]["best_ms"]))
        if faster:
            points.append(row)
        elif place == len(known) - 1:
            points.append(points[-1] | {over: row[over]})
    return points
