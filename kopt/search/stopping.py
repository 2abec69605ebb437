"""When to stop, and what counts as an improvement."""

from __future__ import annotations

from kopt.model.trial import StopReason

NOISE = 0.003
"""Fraction by which measured times of one kernel may differ; the A/A noise on an H100 is a third of this."""


def improved(best_ms: float, previous_ms: float, noise: float) -> bool:
    """Whether the best time fell by more than the noise (a fraction; 0 for estimates)."""
    return best_ms < previous_ms * (1.0 - noise)


def stop_reason(
    roofline_share: float, without_improvement: int, *, estimated: bool, share: float, patience: int
) -> StopReason | None:
    """Why the search should end now, or None.

    An estimate near the roofline ends nothing: it is not known to be there.
    """
    if roofline_share >= share and not estimated:
        return StopReason.ROOFLINE
    if without_improvement >= patience:
        return StopReason.NO_IMPROVEMENT
    return None
