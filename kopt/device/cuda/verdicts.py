"""What the judge on a GPU finds: a candidate's recording, or the verdict on what it did wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kopt.device.cuda.program import RecordedCall
from kopt.device.reference.rejection import bounded
from kopt.model.build import Phase
from kopt.model.verdict import Check, Failed

JUDGE = "cuda"
Samples = dict[str, dict[str, list[float]]]
"""Times of single calls in ms, by workload and name of the subject."""


@dataclass(frozen=True)
class Recorded:
    """A candidate that gave right outputs, with what its calls came to."""

    programs: tuple[RecordedCall, ...]
    binaries: Mapping[str, bytes]
    checks: tuple[Check, ...]
    seconds: Mapping[str, float]
    """How long each phase of its process took."""


def failure(phase: Phase, reason: str) -> Failed:
    """A failed verdict of this judge."""
    return Failed(judge=JUDGE, phase=phase, reason=bounded(reason))


def mutation(name: str) -> Failed:
    """The verdict on a changed input."""
    return failure(Phase.MUTATION, f"input {name} is changed by the candidate, which the problem does not allow")
