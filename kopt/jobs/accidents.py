"""Tell failures that the machine may be to blame for: they are found again in another run, never kept."""

from __future__ import annotations

from kopt.model.build import Build, BuildFailed, Phase
from kopt.model.verdict import Failed, Verdict

ACCIDENTS = frozenset({Phase.TIMEOUT, Phase.CRASH})
"""Phases in which a busy or broken machine can make a good kernel fail."""


def is_accident(result: Build | Verdict) -> bool:
    """Tell whether a build or a verdict failed in a way that may be the machine's fault."""
    return isinstance(result, BuildFailed | Failed) and result.phase in ACCIDENTS


def is_refused_time(verdict: Verdict) -> bool:
    """Tell whether a time was refused: that belongs to the device, not to the source."""
    return isinstance(verdict, Failed) and verdict.phase in (Phase.ROOFLINE, Phase.REUSE)
