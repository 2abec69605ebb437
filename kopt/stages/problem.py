"""Stage problem: the problem as one value and its facts; the format reads it, the backend counts its facts."""

from __future__ import annotations

from kopt.model.base import Value


class ProblemSettings(Value):
    """Settings of the rule problem."""

    backend: str
