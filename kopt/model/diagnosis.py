"""Why a kernel is slow, as a profile and as ranked directions to try."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from kopt.model.base import Value

Bound = Literal["memory", "compute", "latency"]


class Profile(Value):
    """What is known of a parent's run, from counters, or from static facts when there are none."""

    kind: Literal["counters", "static"]
    """`static`: worked out from the build and the time, no hardware counter was read."""
    bound: Bound
    roofline_share: float
    """Share of the speed of light, 0 to 1."""
    metrics: dict[str, float | None] = Field(default_factory=dict)
    """Metric name to value; None when the device does not offer it."""
    notes: tuple[str, ...] = ()


class Direction(Value):
    """One ranked way to make the kernel faster."""

    rank: int
    """From 1, the most promising."""
    bottleneck: str
    """What limits the kernel, a short name (`narrow_loads`, `low_occupancy`, ...)."""
    cause: str
    """The fact it was read from, with its number."""
    direction: str
    """What to try, in words."""
    techniques: tuple[str, ...] = ()
    """Techniques of the taxonomy that the direction leads to."""


class Diagnosis(Value):
    """`num_bottlenecks` ranked, different directions for one parent."""

    kernel: str
    """Kernel digest of the parent."""
    source: str
    """`rules` or the name of a model."""
    directions: tuple[Direction, ...]
