"""Count how often facts and a language model agree on the techniques of kernels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kopt.model.base import Value


class Counts(Value):
    """What facts and a language model said of one technique, in kernels."""

    agreed: int = 0
    facts_only: int = 0
    """Facts saw it and the model did not."""
    model_only: int = 0
    """The model saw it and facts did not."""


class Agreement(Value):
    """How far facts and a language model agreed on the kernels that a round classified, by technique."""

    model: str
    techniques: dict[str, Counts]


def agreement(model: str, names: Iterable[str], kernels: Sequence[tuple[set[str], set[str]]]) -> Agreement:
    """Count, technique by technique, where facts and a model agree.

    Args:
        model: name of the language model.
        names: the techniques that the model was asked about.
        kernels: of each kernel the techniques by facts, and those by the model.
    """
    return Agreement(model=model, techniques={name: _counts(name, kernels) for name in names})


def _counts(name: str, kernels: Sequence[tuple[set[str], set[str]]]) -> Counts:
    facts_only = sum(name in by_facts and name not in by_model for by_facts, by_model in kernels)
    model_only = sum(name not in by_facts and name in by_model for by_facts, by_model in kernels)
    return Counts(agreed=len(kernels) - facts_only - model_only, facts_only=facts_only, model_only=model_only)
