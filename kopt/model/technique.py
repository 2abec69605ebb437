"""Techniques: the taxonomy's entries and what one kernel uses of them."""

from __future__ import annotations

from kopt.model.base import Value


class Technique(Value):
    """One entry of the taxonomy; its place in the list is its bit."""

    name: str
    description: str
    llm_hint: str
    """What a classifier should look for."""


class Evidence(Value):
    """Why a bit is set: where it was seen."""

    technique: str
    where: str
    """`source:41` or `ptx`."""
    what: str
    """The line or the instruction."""


class TechniqueVector(Value):
    """Which techniques of a taxonomy one kernel uses; bits are made only at the edge."""

    taxonomy: str
    """Digest of the taxonomy that was asked."""
    techniques: tuple[str, ...]
    """Names in the taxonomy's order."""
    evidence: tuple[Evidence, ...] = ()
    classifier: str
    """`static` or the name of a model."""
