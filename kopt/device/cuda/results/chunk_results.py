"""Collect the results of the kernels of a chunk: recordings, verdicts and times."""

from __future__ import annotations

from dataclasses import dataclass, field

from kopt.device.cuda.results.times import INCUMBENT, Times
from kopt.device.cuda.results.verdicts import JUDGE, Recorded, VerificationOutcome
from kopt.model.verdict import Passed, Verdict


@dataclass
class ChunkResults:
    """Results by name of the kernel, which is either recorded or has a verdict against it."""

    times: Times
    recorded: dict[str, Recorded] = field(default_factory=dict)
    """Kernels with which nothing is wrong."""
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    """Verdicts on kernels with which something is wrong."""

    def note_verification(self, name: str, outcome: VerificationOutcome) -> None:
        """Note the outcome of verifying a kernel."""
        if isinstance(outcome, Recorded):
            self.recorded[name] = outcome
        else:
            self.verdicts[name] = outcome

    def fail(self, name: str, verdict: Verdict) -> None:
        """Note a verdict against a kernel; without a right incumbent there are no ratios."""
        self.recorded.pop(name, None)
        self.verdicts[name] = verdict
        if name == INCUMBENT:
            self.times.forget(name)

    def verdict(self, name: str) -> Verdict:
        """Return the verdict on a kernel."""
        return self.verdicts.get(name) or Passed(judge=JUDGE, checks=self.recorded[name].checks)
