"""Whether a candidate computes what the problem asks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from kopt.model.base import Value
from kopt.model.build import Phase


class Check(Value):
    """One comparison of the verdict: an input drawn, the candidate run, its output compared."""

    workload: str
    distribution: str
    """How the inputs were drawn: normal, integer, range, ..."""
    max_error: float
    """Largest absolute error against the float64 reference; finite only if the outputs are."""
    allowed: float
    """Largest error that this check allowed at that element."""


class Passed(Value):
    """Right on every check."""

    verdict: Literal["passed"] = "passed"
    judge: str
    """`interpret` (Triton interpreter, small workload), `cuda`, or `dry` (nothing was judged)."""
    checks: tuple[Check, ...]


class Incorrect(Value):
    """Ran, and gave a wrong result."""

    verdict: Literal["incorrect"] = "incorrect"
    judge: str
    reason: str
    checks: tuple[Check, ...] = ()


class Failed(Value):
    """Did not run to the end, or broke the contract."""

    verdict: Literal["failed"] = "failed"
    judge: str
    phase: Phase
    reason: str


Verdict = Annotated[Passed | Incorrect | Failed, Field(discriminator="verdict")]
