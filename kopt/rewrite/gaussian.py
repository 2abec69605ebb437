"""Condition a Gaussian on observations, in plain Python: a few dozen points need no NumPy, whose import takes longer.

Sums are taken in a fixed order, so that the same observations give the same figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Matrix = list[list[float]]


@dataclass(frozen=True)
class Posterior:
    """A Gaussian with mean zero, conditioned on observations (Rasmussen and Williams, algorithm 2.1)."""

    factor: Matrix
    """Lower Cholesky factor of the covariance of the observations, noise included."""
    weights: list[float]
    """Inverse of the covariance times the observed values."""

    def at(self, covariances: Sequence[float], variance: float) -> tuple[float, float]:
        """Predict a value: its mean and its standard deviation.

        Args:
            covariances: covariance of the value with each observation.
            variance: variance of the value before the observations.
        """
        mean = math.fsum(c * w for c, w in zip(covariances, self.weights, strict=True))
        part = solve_lower(self.factor, covariances)
        return mean, math.sqrt(max(variance - math.fsum(p * p for p in part), 0.0))


def condition(covariance: Matrix, values: Sequence[float]) -> Posterior:
    """Condition on observed values.

    Args:
        covariance: covariance of the observations, positive definite: each has some noise.
        values: the observed values.
    """
    factor = cholesky(covariance)
    return Posterior(factor, solve_upper(factor, solve_lower(factor, values)))


def cholesky(matrix: Matrix) -> Matrix:
    """Return the lower triangular factor L with L L' = matrix, each row up to its diagonal."""
    factor: Matrix = []
    for i, row in enumerate(matrix):
        made: list[float] = []
        for j in range(i):
            other = factor[j]
            made.append((row[j] - math.fsum(a * b for a, b in zip(made, other, strict=False))) / other[j])
        made.append(math.sqrt(row[i] - math.fsum(a * a for a in made)))
        factor.append(made)
    return factor


def solve_lower(factor: Matrix, values: Sequence[float]) -> list[float]:
    """Solve L x = values."""
    solved: list[float] = []
    for row, value in zip(factor, values, strict=True):
        solved.append((value - math.fsum(a * b for a, b in zip(row, solved, strict=False))) / row[-1])
    return solved


def solve_upper(factor: Matrix, values: Sequence[float]) -> list[float]:
    """Solve L' x = values."""
    left = list(values)
    for i in range(len(left) - 1, -1, -1):
        left[i] /= factor[i][i]
        for j in range(i):
            left[j] -= factor[i][j] * left[i]
    return left
