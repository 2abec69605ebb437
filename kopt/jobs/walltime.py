"""Work out how long a submitted job may take."""

from __future__ import annotations

import math

START_MINUTES = 10
"""Time for what a job does beside its kernels, generous: start, imports, the reference."""
USUAL_SHARE = 0.25
"""Share of its limit that a kernel takes at most in the mean; few come near the limit."""


def walltime(items: int, seconds: float, workers: int, attempt: int) -> int:
    """Return the time limit of a job, minutes; it grows with each attempt, since a job may have reached the last one.

    Args:
        items: kernels that the job works on.
        seconds: limit of one kernel, s.
        workers: kernels that the job works on at a time.
        attempt: 1 for the first time that the job is submitted.
    """
    return attempt * (START_MINUTES + math.ceil(USUAL_SHARE * math.ceil(items / workers) * seconds / 60))
