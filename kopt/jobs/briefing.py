"""What the prompts after one round may tell, as a value: made by stage brief, read by whoever asks a language model."""

from __future__ import annotations

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
