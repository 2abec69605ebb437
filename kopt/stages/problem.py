"""Stage `problem`: read the problem by its format, and count its facts by the backend."""

from __future__ import annotations

from kopt.model.base import Value


class ProblemSettings(Value):
    """Settings of the rule problem."""

    backend: str
    gpu_model: str
