"""What a judge says of one kernel: right, with a time, or wrong; there is no third."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from kopt.model.base import Value
from kopt.model.timing import Timing
from kopt.model.verdict import Failed, Incorrect, Passed


class JudgedRight(Value):
    """A kernel that passed, with its time."""

    verdict: Passed
    timing: Timing
    evaluation: str = ""
    """Store digest of the verdict's key; empty where nothing is kept."""


class JudgedWrong(Value):
    """A kernel that did not pass; it has no time."""

    verdict: Annotated[Incorrect | Failed, Field(discriminator="verdict")]
    evaluation: str = ""
    """Store digest of the verdict's key; empty where nothing is kept."""


Judged = JudgedRight | JudgedWrong
