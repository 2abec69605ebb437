"""What the prompts after one round may tell, as a value: made by stage brief, read by whoever asks a language model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kopt.artifact import read_value
from kopt.model.base import Value
from kopt.prompts.context import Memory, Parent, PromptContext


class Briefing(Value):
    """What the prompts after one round may tell."""

    round: int
    context: PromptContext
    parents: tuple[Parent, ...]
    """In order of selection."""
    memory: Memory
    over: bool
    """The search has ended: nothing is asked any more."""


def read_briefing(paths: Sequence[Path]) -> Briefing | None:
    """The briefing of the one file, or None in a run without language models, which has none."""
    return next((read_value(path, Briefing) for path in paths), None)
