"""Settings of stages generate and experience, apart from their code: a DAG is built without importing the rewriter."""

from __future__ import annotations

from kopt.model.asking import Asking
from kopt.model.base import Value


class ExperienceSettings(Value):
    """Settings of the rule experience."""

    experience: str
    """`store`, or a file."""
    backend: str


class GenerateSettings(Value):
    """Settings of the rules generate and generate_repair."""

    seed: int
    """Seed of the rewriter's draws."""
    max_repairs: int
    learning: bool
    """Whether the rewriter learns from the candidates of earlier rounds."""
    tuned_share: float
    """Share of the rewriter's slots that tune numbers, 0 to 1."""
    asking: Asking | None
    """Source and limits of replies; None in a run without language models."""
