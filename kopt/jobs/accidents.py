"""Recognise failures for which the machine may be at fault: they are not stored, so that a later run tries again."""

from __future__ import annotations

from kopt.model.build import Build, BuildFailed, Phase
from kopt.model.verdict import Failed, Verdict

ACCIDENTS = frozenset({Phase.TIMEOUT, Phase.CRASH})
"""Phases in which a busy or broken machine can make a good kernel fail."""


def is_accident(result: Build | Verdict) -> bool:
    """Return whether a build or a verdict failed in a way that may be the machine's fault."""
    return isinstance(result, BuildFailed | Failed) and result.phase in ACCIDENTS


def is_refused_time(verdict: Verdict) -> bool:
    """Return whether a verdict refuses a time, which depends on the device and not only on the source."""
    return isinstance(verdict, Failed) and verdict.phase in (Phase.ROOFLINE, Phase.REUSE)
