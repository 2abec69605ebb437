"""Define the tables of one round, all its attempts together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kopt.model.diagnosis import Diagnosis
from kopt.model.kernel import Candidate
from kopt.model.trial import BuildRow, EvaluationRow, RankRow, RoundSummary, SelectionRow, TechniqueRow


@dataclass(frozen=True)
class RoundTables:
    """What a round's attempts left, up to what selection chooses from."""

    candidates: Sequence[Candidate]
    builds: Sequence[BuildRow]
    evaluations: Sequence[EvaluationRow]
    pool: Sequence[RankRow]
    """Previous parents and this round's correct kernels, fastest first; equal fingerprints not yet merged."""
    techniques: Sequence[TechniqueRow]
    """Of the pool, a row per fingerprint."""


@dataclass(frozen=True)
class Round:
    """A round after its selection."""

    tables: RoundTables
    selection: Sequence[SelectionRow]
    """The parents of the next round, in order of selection."""
    summary: RoundSummary
    diagnoses: Sequence[Diagnosis] = ()
    """The diagnosis of each place of the selection, empty for a place without a parent; none after the last round."""
