"""Define the briefing: what the prompts after one round may say.  Stage brief makes it, stages that ask read it."""

from __future__ import annotations

from kopt.model.base import Value
from kopt.prompts.context import Memory, Parent, PromptContext


class Briefing(Value):
    """What the prompts after one round may say."""

    round: int
    context: PromptContext
    parents: tuple[Parent, ...]
    """In order of selection."""
    memory: Memory
    over: bool
    """The search has ended: no model is asked again."""
