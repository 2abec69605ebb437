"""Stages `baseline` and `outcome`: measure kernels beside PyTorch's own times; the backend does the work."""

from __future__ import annotations

from kopt.model.base import Value
from kopt.model.options import JudgeOptions


class BaselineSettings(Value):
    """Settings of the rules baseline and outcome."""

    backend: str
    baselines: tuple[str, ...]
    """Names of the baselines: `eager`, `compile`, `max-autotune`."""
    judging: JudgeOptions
