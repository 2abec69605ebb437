"""Compute statistics of repeated timings: bootstrap intervals, ratios of interleaved samples, survivors of a race.

Pure and deterministic: every draw follows from a seed.  Results have the unit of the samples.  Samples of one batch are
paired by position, since they were taken one after the other, so that slow drift cancels in their ratios.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from kopt.model.timing import Measured, mean_over

DRAWS = 2000
"""Number of bootstrap draws, with which the ends of a 95 % interval vary by a few per cent of its width."""

CONFIDENCE = 0.95
"""Confidence of an interval, 0 to 1, unless another one is asked for."""


class Interval(NamedTuple):
    """A sample median with the interval that contains the true median with a given confidence."""

    middle: float
    low: float
    high: float

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high


def median_interval(
    samples: Sequence[float], *, processes: int = 1, seed: int = 0, confidence: float = CONFIDENCE
) -> Interval:
    """Return the samples' median with its bootstrap interval (percentile method, Efron 1979).

    Samples of several processes are drawn in two steps, the process and then the call (Davison and Hinkley 1997, 3.8),
    so that differences between processes widen the interval.

    Args:
        samples: equally many from each process, one process after the other.
        processes: number of processes that the samples come from.
        seed: seed of the bootstrap.
        confidence: confidence of the interval, 0 to 1.

    Raises:
        ValueError: there are no samples, or their number is no multiple of `processes`.
    """
    values = np.asarray(samples, dtype=np.float64)
    if not values.size:
        raise ValueError("no samples")
    calls, remainder = divmod(values.size, processes)
    if remainder:
        raise ValueError(f"{values.size} samples do not divide among {processes} processes")
    random = np.random.default_rng(seed)
    draws = random.integers(0, calls, size=(DRAWS, processes, calls))
    if processes > 1:
        draws += calls * random.integers(0, processes, size=(DRAWS, processes, 1))
    medians = np.median(values[draws.reshape(DRAWS, -1)], axis=1)
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(medians, [tail, 1.0 - tail])
    return Interval(float(np.median(values)), float(low), float(high))


def mean_interval(
    strata: Sequence[Sequence[float]], *, seed: int = 0, confidence: float = CONFIDENCE
) -> Interval:  # fmt: skip
    """Return the mean of all samples with its bootstrap interval, drawn within each stratum (percentile method).

    Strata of fewer than three samples say nothing of their own spread: then all samples are drawn from as one.

    Args:
        strata: samples by what they have in common, e.g. the problem.
        seed: seed of the bootstrap.
        confidence: confidence of the interval, 0 to 1.

    Raises:
        ValueError: there are no samples.
    """
    values = [np.asarray(own, dtype=np.float64) for own in strata if len(own)]
    if not values:
        raise ValueError("no samples")
    if min(own.size for own in values) < 3:
        values = [np.concatenate(values)]
    random = np.random.default_rng(seed)
    sums = sum(own[random.integers(0, own.size, size=(DRAWS, own.size))].sum(axis=1) for own in values)
    means = np.asarray(sums) / sum(own.size for own in values)
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return Interval(float(np.concatenate(values).mean()), float(low), float(high))


def ratio_interval(
    samples: Sequence[float], baseline: Sequence[float], *, processes: int = 1, seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Interval:  # fmt: skip
    """Return the median of `samples[i] / baseline[i]` with its interval; under 1 is faster than the baseline.

    Only positions that both have count.  The other arguments are those of `median_interval`.

    Raises:
        ValueError: there is no common position, or their number is no multiple of `processes`.
    """
    ratios = [sample / reference for sample, reference in zip(samples, baseline, strict=False)]
    return median_interval(ratios, processes=processes, seed=seed, confidence=confidence)


def measured_ratio(measured: Measured, baseline: Measured, workload: str = "") -> Interval:
    """Return the ratio of two times that were taken side by side; under 1 is faster than the baseline.

    Args:
        measured: the time.
        baseline: the time that it is compared with.
        workload: name of the only workload to compare; by default the geometric mean over all of them, call by call.

    Raises:
        ValueError: there is no common position.
    """
    paired = zip(measured.workloads, baseline.workloads, strict=True)
    pairs = [(timing, base) for timing, base in paired if workload in ("", timing.workload)]
    workloads = [timing for timing, _ in pairs]
    samples = [mean_over(workloads, call) for call in zip(*(timing.samples_ms for timing, _ in pairs), strict=False)]
    references = [mean_over(workloads, call) for call in zip(*(base.samples_ms for _, base in pairs), strict=False)]
    processes = {timing.processes for pair in pairs for timing in pair}
    return ratio_interval(samples, references, processes=processes.pop() if len(processes) == 1 else 1)


def noise(samples: Sequence[float], again: Sequence[float], *, seed: int = 0) -> float:
    """Return the A/A noise: how far the interval of a kernel's ratio to itself, timed twice, reaches from 1."""
    interval = ratio_interval(samples, again, seed=seed)
    return max(abs(interval.low - 1.0), abs(interval.high - 1.0))


def survivors(
    samples: Mapping[str, Sequence[float]], *, keep: int, seed: int = 0, confidence: float = 0.99
) -> tuple[str, ...]:
    """Return the kernels that stay in a race after a stage: drop the clearly slower ones, then the slower half.

    Clearly slower means that the interval of the paired ratio to the leader lies above 1.  With few samples a
    bootstrap interval is too narrow, so its confidence is high and the faster half always stays.

    Args:
        samples: times by name, interleaved, so that equal positions belong together.
        keep: number of kernels that stay at least, if there are so many.
        seed: seed of the bootstrap.
        confidence: confidence of the interval that decides.

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
    """Return the launches of each stage of a race: doubling from `first`, together `last`."""
    counts = [min(first, last)]
    while sum(counts) < last:
        counts.append(min(2 * counts[-1], last - sum(counts)))
    return tuple(counts)
