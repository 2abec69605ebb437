"""Define the profile of a kernel, and its diagnosis: ranked directions to try."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from kopt.model.base import Value

Bound = Literal["memory", "compute", "latency"]


class Profile(Value):
    """Facts about a parent's run, from hardware counters, or from its build and time where there are no counters."""

    kind: Literal["counters", "static"]
    """`counters`: read by Nsight Compute; `static`: computed from the build and the time."""
    bound: Bound
    roofline_share: float
    """Roofline floor divided by time, 0 to 1."""
    metrics: dict[str, float | None] = Field(default_factory=dict)
    """Value by the name of the metric; None when the device does not offer it."""
    notes: tuple[str, ...] = ()
    workload: str = ""
    """Name of the workload that the metrics are about; empty where it is not known."""
    times_ms: dict[str, float] = Field(default_factory=dict)
    """Time of each main workload by name, ms; empty where they are not known."""


class ParentProfile(Value):
    """The profile of one place of the selection; a place without a parent has neither kernel nor profile."""

    kernel: str
    """Digest of the parent's source."""
    profile: Profile | None


class Direction(Value):
    """One way to make the kernel faster, with its rank."""

    rank: int
    """From 1, the most promising."""
    bottleneck: str
    """Short name of what limits the kernel (`narrow_loads`, `low_occupancy`, ...)."""
    cause: str
    """The fact that shows the bottleneck, with its number."""
    direction: str
    """Description of the change to try."""
    techniques: tuple[str, ...] = ()
    """Names of the techniques that the direction leads to."""


class Diagnosis(Value):
    """The directions to try for one parent, ranked and all different, `num_bottlenecks` of them."""

    kernel: str
    """Kernel digest of the parent."""
    source: str
    """`rules` or the name of a model."""
    directions: tuple[Direction, ...]
