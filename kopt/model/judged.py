"""State what a judge says of one kernel: right, with a time, or wrong, without one."""

from __future__ import annotations

from kopt.model.base import Value
from kopt.model.timing import Timing
from kopt.model.verdict import Failed, Incorrect, Passed


class JudgedRight(Value):
    """A kernel that passed, with its time: a verdict `passed` without a time cannot be written."""

    verdict: Passed
    timing: Timing
    evaluation: str = ""
    """Digest of the verdict's key in the store; empty for the dry judge."""


class JudgedWrong(Value):
    """A kernel that did not pass, which has no time."""

    verdict: Incorrect | Failed
    evaluation: str = ""
    """Digest of the verdict's key in the store."""


Judged = JudgedRight | JudgedWrong
