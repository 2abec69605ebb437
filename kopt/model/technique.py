"""Define a technique of a taxonomy, and the technique vector of one kernel."""

from __future__ import annotations

from kopt.model.base import Value


class Technique(Value):
    """One entry of the taxonomy; its position in the list is its bit."""

    name: str
    description: str
    llm_hint: str
    """What a classifier should look for."""


class Evidence(Value):
    """Why a technique counts as used: where it was seen."""

    technique: str
    where: str
    """`source:41` or `ptx`."""
    what: str
    """The line or the instruction."""


class TechniqueVector(Value):
    """The techniques of a taxonomy that one kernel uses, by name."""

    taxonomy: str
    """Digest of the taxonomy."""
    techniques: tuple[str, ...]
    """Names in the taxonomy's order."""
    evidence: tuple[Evidence, ...] = ()
    classifier: str
    """`static` or the name of a model."""
