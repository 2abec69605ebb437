"""Show fresh measurements as a table for the terminal."""

from __future__ import annotations

from kopt.model.timing import Finals, WorkloadTiming
from kopt.report.numbers import compilations_text


def table_lines(finals: Finals) -> list[str]:
    """Write one line for each name and workload: time, 95 % interval and roofline share, fastest first."""
    names = sorted(finals.timings, key=lambda name: finals.timings[name].objective_ms)
    return [
        f"{name:<14} {timing.workload:<10} {timing.median_ms:9.4f} ms [{timing.low_ms:.4f}, {timing.high_ms:.4f}]"
        f" {timing.floor_ms / timing.median_ms:6.1%} of the roofline{_spread(timing)}"
        for name in names
        for timing in finals.timings[name].workloads
    ]


def _spread(timing: WorkloadTiming) -> str:
    text = compilations_text(timing.compilations_ms)
    return f", the fastest of {text}" if text else ""
