"""Draw kernels under the roofline."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from kopt.report.figures.chart import Chart, data, shapes
from kopt.report.rows import EAGER, Row

WIDER = 2.0
"""The roofline's frame ends at this many times the intensity of the kernels."""


def roofline(rows: Sequence[Row], roofs: Sequence[Row], *, models: Sequence[str], estimated: bool) -> Chart:
    """Draw kernels under the roofline: rate of arithmetic over operations per byte, both on logarithmic scales.

    The frame holds the kernels; of the roof it holds what is above them.
    """
    intensities, rates = ([float(str(row[name])) for row in rows] for name in ("intensity", "tflop_s"))
    low, high = min(intensities, default=1.0) / WIDER, max(intensities, default=1.0) * WIDER
    ends = _ends(roofs, high)
    few = alt.Axis(format="~g", tickCount=5, grid=False, labelOverlap="greedy")
    x = alt.X("intensity:Q", title="operations per byte", axis=few,
              scale=alt.Scale(type="log", domain=[low, high], nice=False))  # fmt: skip
    rate = "estimated TFLOP/s" if estimated else "TFLOP/s"
    top = max([1e-9, *rates, *(float(str(end["tflop_s"])) for end in ends)]) * 1.25
    heights = alt.Scale(type="log", domain=[min(rates, default=1.0) / 1.3, top], nice=False)
    y = alt.Y("tflop_s:Q", title=rate, axis=few, scale=heights)
    kernels = [row for row in rows if row["model"] != EAGER]
    names = list(dict.fromkeys([*models, *(str(row["model"]) for row in kernels)]))
    shown = [row | {"text": f"{row['name']} on {row['workload']}: {row['tflop_s']:.3g} {rate}"} for row in rows]
    tooltip = [alt.Tooltip("name:N"), alt.Tooltip("model:N"), alt.Tooltip("workload:N"),
               alt.Tooltip("tflop_s:Q", title=rate, format=".3g"), alt.Tooltip("ms:Q", format=".4g")]  # fmt: skip
    lines = alt.Chart(data(roofs)).mark_line(strokeWidth=1.5, clip=True).encode(
        x=x, y=y, detail="workload:N", description=alt.value("roof of the device")
    )  # fmt: skip
    corners = alt.Chart(data(ends)).mark_text(align="right", dx=-8, dy=-8, aria=False).encode(x=x, y=y, text="text:N")
    points = (
        alt.Chart(data([row for row in shown if row["model"] != EAGER]))
        .mark_point(filled=True, size=60, opacity=0.8)
        .encode(
            x=x, y=y, description="text:N", tooltip=tooltip,
            color=alt.Color("model:N", title="proposer", scale=alt.Scale(domain=names)),
            shape=alt.Shape("model:N", title="proposer", scale=alt.Scale(domain=names, range=shapes(names))),
        )
    )  # fmt: skip
    eager = alt.Chart(data([row for row in shown if row["model"] == EAGER])).encode(x=x, y=y)
    marks = eager.mark_rule(strokeWidth=2, xOffset=8, x2Offset=26).encode(
        x2="intensity:Q", description="text:N", tooltip=tooltip
    )  # fmt: skip
    labels = eager.mark_text(align="left", dx=30, aria=False).encode(text="name:N")
    return alt.layer(lines, corners, points, marks, labels).properties(width="container", height=340)


def _ends(roofs: Sequence[Row], high: float) -> list[Row]:
    """Place the names of the roofs where these leave the frame to the right, or at their corners inside of it."""
    corners = {str(row["text"]): row for row in roofs if row["text"]}
    ends: list[Row] = []
    for text, corner in corners.items():
        ridge, rate = float(str(corner["intensity"])), float(str(corner["tflop_s"]))
        at = min(high, ridge)
        ends.append({"text": text, "intensity": at, "tflop_s": rate * at / ridge})
    return ends
