"""Draw when jobs worked, and when none did."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from kopt.report.figures.chart import Chart, data
from kopt.report.rows import WAITING, Row, waits


def timeline(rows: Sequence[Row], gpu: bool) -> Chart:
    """Draw when each job worked, a line for each rule; with a GPU, its jobs stand out."""
    idle = waits(rows)
    order = list(dict.fromkeys(str(row["rule"]) for row in (*rows, *idle)))
    shown: list[Row] = [
        row
        | {
            "when": _when(row),
            "kind": ("holds the GPU" if row["gpu"] else "without the GPU") if gpu else "works",
            "text": f"{row['rule']}, {_when(row)}: {row['seconds']} s from {row['began_s']} s on",
        }
        for row in rows
    ] + [
        row
        | {
            "when": "waiting for replies, or between two commands", "kind": WAITING,
            "text": f"{WAITING} for {row['seconds']} s from {row['began_s']} s on",
        }
        for row in idle
    ]  # fmt: skip
    kinds = [*(["holds the GPU", "without the GPU"] if gpu else ["works"]), *([WAITING] if idle else [])]
    chart: Chart = (
        alt.Chart(data(shown))
        .mark_bar(minBandSize=2)
        .encode(
            x=alt.X("began_s:Q", title="seconds since the first job", axis=alt.Axis(tickCount=8)), x2="ended_s:Q",
            y=alt.Y("rule:N", title=None, sort=order),
            color=alt.Color("kind:N", title=None, scale=alt.Scale(domain=kinds),
                            legend=alt.Legend() if kinds[1:] else None),
            opacity=alt.condition(alt.datum["kind"] == WAITING, alt.value(0.35), alt.value(1)),
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
