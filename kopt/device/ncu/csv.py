"""Read the table that Nsight Compute prints (`--csv --page raw`): one row for each launch.

The first row names the columns and the second their units; a metric that the GPU does not offer is an empty or `n/a`
cell, or no column at all, and becomes None.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Mapping, Sequence

from kopt.model.base import Value

TIME = "gpu__time_duration.sum"
"""Duration of a launch; shares of several launches are weighted with it."""

METRICS = (
    TIME,
    "sm__cycles_active.avg",
    "sm__warps_active.avg.pct_of_peak_sustained_active",
    "launch__occupancy_limit_blocks",
    "launch__occupancy_limit_registers",
    "launch__occupancy_limit_shared_mem",
    "launch__registers_per_thread",
    "sm__inst_executed.sum",
    "sm__inst_executed_pipe_fp32.avg.pct_of_peak_sustained_active",
    "sm__inst_executed_pipe_tensor.avg.pct_of_peak_sustained_active",
    "dram__bytes_read.sum",
    "dram__bytes_write.sum",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed",
    "dram__bytes.sum.per_second",
    "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed",
    "launch__shared_mem_per_block_allocated",
    "l1tex__t_sector_hit_rate.pct",
    "l1tex__throughput.avg.pct_of_peak_sustained_active",
    "lts__t_sector_hit_rate.pct",
    "lts__throughput.avg.pct_of_peak_sustained_active",
    "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_elapsed",
    "smsp__sass_average_data_bytes_per_sector_mem_global_op_ld.pct",
    "smsp__warp_issue_stalled_memory_dependency_per_warp_active.pct",
    "smsp__warp_issue_stalled_short_scoreboard_per_warp_active.pct",
    "smsp__warp_issue_stalled_long_scoreboard_per_warp_active.pct",
    "smsp__warp_issue_stalled_barrier_per_warp_active.pct",
    "smsp__warp_issue_stalled_branch_resolving_per_warp_active.pct",
    "smsp__sass_average_branch_targets_threads_uniform.pct",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    "gpu__compute_memory_throughput.avg.pct_of_peak_sustained_elapsed",
)
"""Metrics that Nsight Compute counts."""

_SCALES = {
    "nsecond": 1.0, "ns": 1.0, "usecond": 1e3, "us": 1e3, "msecond": 1e6, "ms": 1e6, "second": 1e9, "s": 1e9,
    "byte": 1.0, "Kbyte": 1e3, "Mbyte": 1e6, "Gbyte": 1e9, "Tbyte": 1e12,
    "byte/s": 1.0, "byte/second": 1.0, "Kbyte/s": 1e3, "Mbyte/s": 1e6, "Gbyte/s": 1e9, "Tbyte/s": 1e12,
    "Kbyte/second": 1e3, "Mbyte/second": 1e6, "Gbyte/second": 1e9, "Tbyte/second": 1e12,
    "byte/block": 1.0, "Kbyte/block": 1e3,
}  # fmt: skip
"""Factors that convert units to nanoseconds and bytes; values in other units stay as they are."""


class LaunchCounters(Value):
    """The counters of one launch: times in nanoseconds, sizes in bytes, rates in bytes a second, shares in percent."""

    kernel: str
    """Name of the kernel on the device."""
    metrics: dict[str, float | None]


class NotCounters(ValueError):
    """The text is not a table of Nsight Compute."""


def parse(text: str, metrics: Sequence[str] = METRICS) -> tuple[LaunchCounters, ...]:
    """Read the launches of a table, in order; messages of Nsight Compute (`==PROF== ...`) are passed over.

    Raises:
        NotCounters: there is no table with kernels and units.
    """
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("==")]
    rows = list(csv.reader(lines))
    if len(rows) < 2 or "Kernel Name" not in rows[0]:
        raise NotCounters("Nsight Compute wrote no table of launches")
    head, units, *launches = rows
    unit_of = dict(zip(head, units, strict=False))
    return tuple(_launch(dict(zip(head, row, strict=False)), unit_of, metrics) for row in launches)


def together(launches: Sequence[LaunchCounters], metrics: Sequence[str] = METRICS) -> dict[str, float | None]:
    """Combine the counters of all launches of one call into those of one launch.

    Sums and cycles add up, properties of the launch (`launch__...`) are those of the longest launch, and all other
    metrics are means weighted with time.  A metric that no launch has is None, and so is a sum that a launch lacks.
    """
    if not launches:
        return dict.fromkeys(metrics)
    return {name: _together(name, launches) for name in metrics}


def _together(name: str, launches: Sequence[LaunchCounters]) -> float | None:
    pairs = [(launch.metrics.get(name), launch.metrics.get(TIME) or 0.0) for launch in launches]
    if name.startswith("launch__"):
        return max(pairs, key=lambda pair: pair[1])[0]
    present = [(value, weight) for value, weight in pairs if value is not None]
    if name.endswith(".sum") or name == "sm__cycles_active.avg":
        return math.fsum(value for value, _ in present) if len(present) == len(pairs) else None
    return _mean(present)


def _mean(pairs: Iterable[tuple[float, float]]) -> float | None:
    pairs = list(pairs)
    total = math.fsum(weight for _, weight in pairs)
    if not pairs or not total:
        return None
    return math.fsum(value * weight for value, weight in pairs) / total


def _launch(row: Mapping[str, str], units: Mapping[str, str], metrics: Sequence[str]) -> LaunchCounters:
    values = {name: _number(row.get(name, ""), units.get(name, "")) for name in metrics}
    return LaunchCounters(kernel=row.get("Kernel Name", ""), metrics=values)


_CELL = re.compile(r"[+-]?[0-9][0-9,]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
"""A number as ncu prints one; `float` reads more, such as `1_0` or digits of other scripts."""


def _number(cell: str, unit: str) -> float | None:
    if not _CELL.fullmatch(cell.strip()):
        return None
    value = float(cell.replace(",", ""))
    return value * _SCALES.get(unit.strip(), 1.0) if math.isfinite(value) else None
