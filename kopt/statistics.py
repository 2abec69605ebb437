"""Statistics of repeated timings: bootstrap intervals, ratios within interleaved batches, who stays in a race.

Pure and deterministic: every draw follows from a seed.  Times are in whatever unit they come in; samples of one batch
are paired by position, since they were taken one after the other, and slow drift then cancels in their ratios.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from kopt.model.timing import Measured, geometric_mean

DRAWS = 2000
"""Bootstrap draws; the ends of a 95 % interval then lie within a few per cent of its width."""

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A median and the interval that holds the true one with the given confidence."""

    middle: float
    low: float
    high: float

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high


def median_interval(
    samples: Sequence[float], *, processes: int = 1, seed: int = 0, confidence: float = CONFIDENCE
) -> Interval:
    """The samples' median with its bootstrap interval (percentile method, Efron 1979).

    Samples of several processes are drawn in two steps, the process and then the call (Davison and Hinkley 1997, 3.8),
    so that what differs from process to process widens the interval.

    Args:
        samples: equally many of each process, one process after the other.
        processes: how many processes they come from.
        seed: of the bootstrap.
        confidence: of the interval, 0 to 1.

    Raises:
        ValueError: there are no samples, or they do not divide among the processes.
    """
    values = np.asarray(samples, dtype=np.float64)
    if not values.size:
        raise ValueError("no samples")
    calls, left = divmod(values.size, processes)
    if left:
        raise ValueError(f"{values.size} samples do not divide among {processes} processes")
    random = np.random.default_rng(seed)
    draws = random.integers(0, calls, size=(DRAWS, processes, calls))
    if processes > 1:
        draws += calls * random.integers(0, processes, size=(DRAWS, processes, 1))
    medians = np.median(values[draws.reshape(DRAWS, -1)], axis=1)
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(medians, [tail, 1.0 - tail])
    return Interval(float(np.median(values)), float(low), float(high))


def ratio_interval(
    samples: Sequence[float], baseline: Sequence[float], *, processes: int = 1, seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Interval:  # fmt: skip
    """The median of `samples[i] / baseline[i]` with its interval; under 1 is faster than the baseline.

    Only positions that both have count; the rest is as for `median_interval`.

    Raises:
        ValueError: they share no position, or those that they share do not divide among the processes.
    """
    ratios = [one / other for one, other in zip(samples, baseline, strict=False)]
    return median_interval(ratios, processes=processes, seed=seed, confidence=confidence)


def measured_ratio(one: Measured, other: Measured, workload: str = "") -> Interval:
    """Ratio of two times that were taken side by side; over all workloads by geometric mean, call by call.

    Args:
        one: what is compared; under 1 it is faster.
        other: what it is compared to.
        workload: only this one.

    Raises:
        ValueError: they share no position.
    """
    pairs = [(a, b) for a, b in zip(one.workloads, other.workloads, strict=True) if workload in ("", a.workload)]
    ours = [geometric_mean(list(column)) for column in zip(*(a.samples_ms for a, _ in pairs), strict=False)]
    theirs = [geometric_mean(list(column)) for column in zip(*(b.samples_ms for _, b in pairs), strict=False)]
    processes = {timing.processes for pair in pairs for timing in pair}
    return ratio_interval(ours, theirs, processes=processes.pop() if len(processes) == 1 else 1)


def noise(samples: Sequence[float], again: Sequence[float], *, seed: int = 0) -> float:
    """The A/A noise: how far the interval of one kernel's ratio to itself reaches from 1."""
    interval = ratio_interval(samples, again, seed=seed)
    return max(abs(interval.low - 1.0), abs(interval.high - 1.0))


Standing = Literal["faster", "slower", "same"]


def standing(ratio: Interval, noise: float = 0.0) -> Standing:
    """Which side of 1 a ratio's interval lies on, an A/A noise taken off; `same` when it cannot be told."""
    if ratio.high < 1.0 - noise:
        return "faster"
    return "slower" if ratio.low > 1.0 + noise else "same"


def survivors(
    samples: Mapping[str, Sequence[float]], *, keep: int, seed: int = 0, confidence: float = 0.99
) -> tuple[str, ...]:
    """Who stays after a stage of a race: first the clearly slower ones go, then the slower half, down to `keep`.

    Clearly slower means that the interval of the paired ratio to the leader lies above 1.  With few samples a
    bootstrap interval is too narrow, so its confidence is high and the faster half always stays.

    Args:
        samples: times by name, interleaved, so that equal positions belong together.
        keep: at least so many stay, if there are.
        seed: of the bootstrap.
        confidence: of the interval that decides.

    Returns:
        the names that stay, fastest first; ties in order of name.
    """
    order = sorted(samples, key=lambda name: (statistics.median(samples[name]), name))
    if len(order) <= keep:
        return tuple(order)
    leader = order[0]
    near = [
        name
        for name in order
        if ratio_interval(samples[name], samples[leader], seed=seed, confidence=confidence).low <= 1.0
    ]
    half = max(keep, -(-len(order) // 2))
    return tuple(near[:half] if len(near) >= keep else order[:keep])


def stages(first: int, last: int) -> tuple[int, ...]:
    """Launches of each stage of a race: doubling from `first`, all stages together at least `last`."""
    counts = [min(first, last)]
    while sum(counts) < last:
        counts.append(min(2 * counts[-1], last - sum(counts)))
    return tuple(counts)
