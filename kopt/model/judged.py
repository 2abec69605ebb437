"""Define a judge's result for one kernel: passed, with a time, or not passed, without a time."""

from __future__ import annotations

from kopt.model.base import Value
from kopt.model.timing import Recorded, Timing
from kopt.model.verdict import Failed, Incorrect, Passed


class JudgedRight(Value):
    """The result for a kernel that passed; it has a time, so that a verdict `passed` never lacks one."""

    verdict: Passed
    timing: Timing | Recorded
    evaluation: str = ""
    """Digest of the verdict's key in the store; empty for the dry judge."""


class JudgedWrong(Value):
    """The result for a kernel that did not pass, without a time."""

    verdict: Incorrect | Failed
    evaluation: str = ""
    """Digest of the verdict's key in the store."""


Judged = JudgedRight | JudgedWrong
