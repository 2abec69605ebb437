"""What a prompt may tell: the search's values, brought together by the stages."""

from __future__ import annotations

from kopt.model.base import Value
from kopt.model.build import Built
from kopt.model.device import Device
from kopt.model.diagnosis import Direction, Profile
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem, ProblemFacts
from kopt.model.technique import Technique


class PromptContext(Value):
    """What is the same for the whole run."""

    problem: Problem
    facts: ProblemFacts
    device: Device
    triton: str
    """Version of the installed Triton."""
    techniques: tuple[Technique, ...] = ()
    """The taxonomy."""


class ParentTimes(Value):
    """How fast a kernel is, and against what: times in ms, None where they are not known."""

    ms: float
    low_ms: float | None = None
    """Lower end of the 95 % confidence interval."""
    high_ms: float | None = None
    estimated: bool
    """True for a time worked out from the build; nothing was measured."""
    floor_ms: float
    """Roofline floor."""
    roofline_share: float
    """Floor over time, 0 to 1."""
    eager_ms: float | None = None
    compile_ms: float | None = None
    """Time of `torch.compile`, the better of its modes."""
    best_ms: float | None = None
    """Best kernel of the run so far."""
    seed_ms: float | None = None


class Parent(Value):
    """A kernel that is to be improved, with all that is known of it."""

    kernel: Kernel
    standing: ParentTimes
    build: Built | None = None
    profile: Profile | None = None
    techniques: tuple[str, ...] = ()


class Event(Value):
    """One earlier try of the run, as the history tells it."""

    name: str
    """`r1a0s3`."""
    model: str
    description: str
    """What was changed, in words."""
    techniques: tuple[str, ...] = ()
    outcome: str
    """`faster`, `slower`, `same`, `incorrect`, `failed`, ... in one word."""
    ms: float | None = None
    ratio: float | None = None
    """Its time over its parent's: below 1 is faster."""
    reason: str = ""
    """Why it failed, one line."""


class Reflection(Value):
    """What was learned from one round."""

    round: int
    worked: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    """What to try next, most promising first."""


class Share(Value):
    """How often a technique, or a set of them, occurs in the pool."""

    techniques: tuple[str, ...]
    kernels: int
    best_ms: float


class Memory(Value):
    """What the search remembers."""

    events: tuple[Event, ...] = ()
    """Newest first."""
    reflections: tuple[Reflection, ...] = ()
    """Newest first."""
    pool: tuple[Share, ...] = ()
    """Sets of techniques that the pool holds, fastest first."""


class Assignment(Value):
    """What this slot is to do."""

    direction: Direction
    others: tuple[Direction, ...] = ()
    """Directions that other slots follow: leave them to those."""
    sample: int = 0
    """Index among slots that are otherwise alike."""
    samples: int = 1
    """How many slots are alike."""
    avoid: tuple[str, ...] = ()
    """Techniques that the pool holds already in plenty; something else is wanted."""
