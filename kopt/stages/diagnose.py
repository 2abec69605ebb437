"""Stage diagnose: ranked, different directions for each parent; the next round's slots follow them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kopt.model.device import Device
from kopt.model.diagnosis import Diagnosis, Direction, Profile
from kopt.model.problem import ProblemFacts
from kopt.model.trial import SelectionRow
from kopt.search.diagnose import diagnose
from kopt.stages.evaluate import built_named
from kopt.stages.profile import ParentProfile
from kopt.store import Store

Diagnose = Callable[[SelectionRow, Profile | None], Diagnosis]

EMPTY = Diagnosis(kernel="", source="none", directions=())
"""The diagnosis of a place without a parent."""


def diagnose_parents(
    parents: Sequence[SelectionRow], profiles: Sequence[ParentProfile], *, diagnoser: Diagnose
) -> list[Diagnosis]:
    """A diagnosis for each of the selection's places, in order."""
    found = [diagnoser(row, profile.profile) for row, profile in zip(parents, profiles, strict=False)]
    return found + [EMPTY] * (len(profiles) - len(found))


def diagnoser(judge: str, facts: ProblemFacts, device: Device, store: Store, *, count: int) -> Diagnose:
    """The diagnosis that goes with a judge: rules, or numbered directions in a dry run."""

    def by_rules(row: SelectionRow, profile: Profile | None) -> Diagnosis:
        assert profile is not None
        built = built_named(row.build, store)
        return diagnose(row.kernel, profile, built, row.techniques, facts, device, count)

    return _dry(count) if judge == "dry" else by_rules


def _dry(count: int) -> Diagnose:
    directions = tuple(
        Direction(rank=rank, bottleneck=f"dry_{rank}", cause="none: a dry run", direction="none: a dry run")
        for rank in range(1, count + 1)
    )
    return lambda row, profile: Diagnosis(kernel=row.kernel, source="dry", directions=directions)
