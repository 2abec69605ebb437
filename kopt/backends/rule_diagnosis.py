"""Diagnose parents by rules over profile, roofline and build, without a language model."""

from __future__ import annotations

from kopt.backends.backend import Diagnoser
from kopt.jobs.recorded import told_build
from kopt.jobs.target import ProblemOnTarget
from kopt.model.diagnosis import Diagnosis, Profile
from kopt.model.trial import SelectionRow
from kopt.search.diagnose import diagnose


def diagnose_by_rules(target: ProblemOnTarget, count: int) -> Diagnoser:
    """Make a diagnoser that ranks `count` directions by rules over profile, roofline and build."""

    def diagnoser(row: SelectionRow, profile: Profile | None) -> Diagnosis:
        assert profile is not None
        built = told_build(row.build, target.store)
        return diagnose(row.kernel, profile, built, row.techniques, target.facts, target.device, count)

    return diagnoser
