"""Compute how often a loop runs from how the two sides of its test move from one iteration to the next."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kopt.estimate.arithmetic import Lanes, MaybeLanes

Test = tuple[str, Lanes, Lanes, bool]
"""A comparison's opcode, its two sides per program, and whether the loop continues while it holds."""


def trip_count(history: list[Test]) -> npt.NDArray[np.float64] | None:
    """Return the iterations, 1 or more, after which a test ends the loop, per program; None when that is not known.

    Args:
        history: the test in the first iterations; its sides are taken to move by equal steps.

    Returns:
        Iterations, infinite in programs in which the test never ends the loop.
    """
    if len(history) < 2:
        return None
    comparison, left, right, stay = history[0]
    first = (left - right).astype(np.float64)
    _, later_left, later_right, _ = history[-1]
    step = ((later_left - later_right) - first) / (len(history) - 1)
    iterations = first_end(comparison.split(".")[1] if "." in comparison else comparison, first, step, stay)
    if iterations is None:
        return None
    return np.where(np.isfinite(iterations), np.maximum(iterations + 1.0, 1.0), np.inf)


_OPPOSITE = {"lt": "ge", "le": "gt", "gt": "le", "ge": "lt", "eq": "ne", "ne": "eq",
             "lo": "hs", "ls": "hi", "hi": "ls", "hs": "lo"}  # fmt: skip
_SIGNED = {"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}


def first_end(
    name: str, first: npt.NDArray[np.float64], step: npt.NDArray[np.float64], stay: bool
) -> MaybeLanes | npt.NDArray[np.float64]:
    """Return the smallest n at which `first + n * step (name) 0` ends the loop; infinite when none does."""
    name = name if stay else _OPPOSITE.get(name, "")
    name = _SIGNED.get(name, name)
    with np.errstate(divide="ignore", invalid="ignore"):
        if name in ("lt", "gt"):
            sign = 1 if name == "lt" else -1
            count = np.ceil(-first / step)
            return np.where(sign * first >= 0, 0, np.where(sign * step > 0, count, np.inf))
        if name in ("le", "ge"):
            sign = 1 if name == "le" else -1
            count = np.floor(-first / step) + 1
            return np.where(sign * first > 0, 0, np.where(sign * step > 0, count, np.inf))
        if name == "ne":
            return np.where(first == 0, 0, np.where(-first / step > 0, -first / step, np.inf))
    return None
