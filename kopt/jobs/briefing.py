"""Define the briefing: what the prompts after one round may say.  Stage brief makes it, stages that ask read it."""

from __future__ import annotations

from kopt.model.base import Value
from kopt.prompts.context import Memory, Parent, PromptContext


class Briefing(Value):
    """Everything about the search so far that the prompts written after one round may contain."""

    round: int
    context: PromptContext
    parents: tuple[Parent, ...]
    """The new parents, in order of rank."""
    memory: Memory
    over: bool
    """The search has ended: no model is asked again."""
