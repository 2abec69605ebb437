"""Decide when to stop, and what counts as an improvement."""

from __future__ import annotations

from kopt.model.trial import StopReason

NOISE = 0.003
"""Fraction by which measured times of one kernel may differ; the A/A noise on an H100 is a third of it."""


def improved(best_ms: float, previous_ms: float, noise: float) -> bool:
    """Return whether the best time fell by more than the noise (a fraction; 0 for estimates)."""
    return best_ms < previous_ms * (1.0 - noise)


def stop_reason(
    roofline_share: float, without_improvement: int, *, estimated: bool, wanted_share: float, patience: int
) -> StopReason | None:
    """Return the reason why the search should end now, or None.

    Args:
        roofline_share: share of the roofline that the best kernel reaches.
        without_improvement: rounds since the best time fell.
        estimated: whether that share is an estimate; an estimate near the roofline ends nothing.
        wanted_share: share of the roofline at which the search ends.
        patience: rounds without improvement after which the search ends.
    """
    if roofline_share >= wanted_share and not estimated:
        return StopReason.ROOFLINE
    if without_improvement >= patience:
        return StopReason.NO_IMPROVEMENT
    return None
