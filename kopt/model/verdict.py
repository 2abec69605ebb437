"""Define the verdict: whether a candidate computes what the problem asks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from kopt.model.base import Value
from kopt.model.build import Phase


class Check(Value):
    """One comparison of a verdict: inputs drawn, the candidate run, its output compared with the reference's."""

    workload: str
    distribution: str
    """Name of the distribution of the inputs: normal, integer, range, ..."""
    max_error: float
    """Largest absolute error against the float64 reference, in units of the output; finite if the outputs are."""
    allowed: float
    """Largest absolute error that this check allowed at that element."""
    integers: bool = False
    """Whether the output holds integers or truth values: only those that rounding decides may be off."""

    @property
    def good(self) -> bool:
        """Whether the largest error is allowed."""
        return self.max_error <= self.allowed


class Passed(Value):
    """The output was right in every check."""

    verdict: Literal["passed"] = "passed"
    judge: str
    """`interpret` (kopt's interpreter, small workload), `cuda`, or `dry` (nothing was judged)."""
    checks: tuple[Check, ...]


class Incorrect(Value):
    """The candidate ran to the end and gave a wrong result."""

    verdict: Literal["incorrect"] = "incorrect"
    judge: str
    reason: str
    checks: tuple[Check, ...] = ()


class Failed(Value):
    """The candidate did not run to the end, or broke the contract of a kernel."""

    verdict: Literal["failed"] = "failed"
    judge: str
    phase: Phase
    reason: str


Verdict = Annotated[Passed | Incorrect | Failed, Field(discriminator="verdict")]
