"""Settings of stage generate, apart from its code: whoever builds a DAG reads them without importing the rewriter."""

from __future__ import annotations

from kopt.config import Asking
from kopt.model.base import Value


class GenerateSettings(Value):
    """Settings of the rules generate and generate_repair."""

    seed: int
    """The rewriter draws from it."""
    max_repairs: int
    asking: Asking | None
    """How language models are asked; None in a run without them."""
