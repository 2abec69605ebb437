"""Define the results of verification on a GPU: the recording of a correct kernel, or a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kopt.device.cuda.recording.program import RecordedCall
from kopt.device.expected.outputs import changed_reason
from kopt.device.reference.rejection import bounded
from kopt.model.build import Phase
from kopt.model.verdict import Check, Failed, Verdict

JUDGE = "cuda"


@dataclass(frozen=True)
class Recorded:
    """A kernel that gave right outputs, with one recorded call of each main workload."""

    programs: tuple[RecordedCall, ...]
    """Recorded calls of the main workloads, one each."""
    binaries: Mapping[str, bytes]
    """Cubins by digest."""
    checks: tuple[Check, ...]
    seconds: Mapping[str, float]
    """Time that the contestant spent in each phase, s."""
    addresses: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Addresses of the argument tensors in the contestant, by workload, as the contestant reports them."""


VerificationOutcome = Recorded | Verdict


def failure(phase: Phase, reason: str) -> Failed:
    """Make a failed verdict of this judge."""
    return Failed(judge=JUDGE, phase=phase, reason=bounded(reason))


def mutation(name: str) -> Failed:
    """Make the verdict on a changed input."""
    return failure(Phase.MUTATION, changed_reason(name))
