"""Define the values that a prompt may show; the stages collect them."""

from __future__ import annotations

from kopt.model.base import Value
from kopt.model.build import Built
from kopt.model.device import Device
from kopt.model.diagnosis import Direction, Profile
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem, ProblemFacts
from kopt.model.technique import Technique


class PromptContext(Value):
    """The values that all prompts of a run share."""

    problem: Problem
    facts: ProblemFacts
    device: Device
    triton: str
    """Version of the installed Triton."""
    techniques: tuple[Technique, ...] = ()
    """The taxonomy."""


class WorkloadTimes(Value):
    """Times on one main workload, ms; None where they are not known."""

    workload: str
    ms: float
    """Time of the kernel."""
    eager_ms: float | None = None
    compile_ms: float | None = None
    """Time of `torch.compile`, the better of its modes."""
    floor_ms: float | None = None


class ParentTimes(Value):
    """Times of a parent and of the kernels to compare with, ms; None where they are not known."""

    ms: float
    """Time of the kernel itself."""
    low_ms: float | None = None
    """Lower end of the 95 % confidence interval."""
    high_ms: float | None = None
    estimated: bool
    """Whether the time is estimated from the build; then nothing was measured."""
    floor_ms: float
    """Least time by the roofline."""
    roofline_share: float
    """Floor over time, 0 to 1."""
    eager_ms: float | None = None
    """Time of the reference in eager PyTorch."""
    compile_ms: float | None = None
    """Time of `torch.compile`, the better of its modes."""
    best_ms: float | None = None
    """Time of the best kernel of the run so far."""
    seed_ms: float | None = None
    """Time of the seed kernel."""
    workloads: tuple[WorkloadTimes, ...] = ()
    """Times on each main workload, of which `ms` is the weighted geometric mean; empty where they are not known."""


class Parent(Value):
    """A kernel that is to be improved, with its time, build, profile and techniques."""

    kernel: Kernel
    times: ParentTimes
    build: Built | None = None
    profile: Profile | None = None
    techniques: tuple[str, ...] = ()


class Event(Value):
    """One earlier candidate of the run, as the prompt's history shows it."""

    name: str
    """`r1a0s3`."""
    model: str
    description: str
    """Description of the change."""
    techniques: tuple[str, ...] = ()
    outcome: str
    """`faster`, `slower`, `same`, `incorrect`, `failed`, ... in one word."""
    ms: float | None = None
    ratio: float | None = None
    """Time over the parent's time: below 1 is faster."""
    reason: str = ""
    """Why the candidate failed, one line."""


class Reflection(Value):
    """The lessons of one round, each a sentence."""

    round: int
    worked: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    """Changes to try next, most promising first."""


class Share(Value):
    """A set of techniques, the number of kernels in the pool that use it, and the best time."""

    techniques: tuple[str, ...]
    kernels: int
    best_ms: float


class Memory(Value):
    """The memory of earlier rounds: tries, sets of techniques in the pool, lessons."""

    events: tuple[Event, ...] = ()
    """Newest first."""
    reflections: tuple[Reflection, ...] = ()
    """Newest first."""
    pool: tuple[Share, ...] = ()
    """Sets of techniques that the pool holds, fastest first."""


class Assignment(Value):
    """The assignment of one slot."""

    direction: Direction
    others: tuple[Direction, ...] = ()
    """Directions that other slots of the parent follow, and this slot leaves alone."""
    sample: int = 0
    """Index among the slots that are otherwise alike."""
    samples: int = 1
    """Number of slots that are alike, this one included."""
    avoid: tuple[str, ...] = ()
    """Techniques that much of the pool uses already: this slot is asked for others."""
