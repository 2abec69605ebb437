"""Stage `diagnose`: rank different directions to try for each parent; the next round's slots follow them."""

from __future__ import annotations

from collections.abc import Sequence

from kopt.backends.backend import Diagnoser
from kopt.model.asking import Asking
from kopt.model.base import Value
from kopt.model.diagnosis import Diagnosis, ParentProfile
from kopt.model.trial import SelectionRow


class DiagnoseSettings(Value):
    """Settings of the rule diagnose."""

    backend: str
    num_bottlenecks: int
    diagnoser: str
    """Language model that diagnoses; empty where rules diagnose."""
    asking: Asking | None
    """Source and limits of replies; None in a run without language models."""


EMPTY = Diagnosis(kernel="", source="none", directions=())
"""The diagnosis of a place without a parent."""


def diagnose_parents(
    parents: Sequence[SelectionRow], profiles: Sequence[ParentProfile], *, diagnoser: Diagnoser
) -> list[Diagnosis]:
    """Diagnose each place of the selection, in order; each place has a profile."""
    diagnoses = [diagnoser(row, profile.profile) for row, profile in zip(parents, profiles, strict=False)]
    return diagnoses + [EMPTY] * (len(profiles) - len(diagnoses))
