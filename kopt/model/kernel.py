"""A kernel is source text and its entry point; a candidate is a kernel and how it came to be."""

from __future__ import annotations

from enum import StrEnum

from kopt.model.base import Value


class Kernel(Value):
    """Source text with an entry point: a pure value."""

    source: str
    """A whole Python module that imports triton and defines the entry point."""
    entry: str = "kernel_function"
    """Name of the function that takes the problem's inputs and returns its output."""


class Slot(Value):
    """One position of a round's fan-out P x B x M x S: who is asked, about which parent, in which direction."""

    slot: int
    """Position in the round, from 0."""
    parent: str
    """Kernel digest of the parent; empty for the seed and for a slot that is not used."""
    parent_rank: int
    """Position of the parent in the previous selection, from 0."""
    bottleneck: int
    """Rank of the diagnosis direction that this slot follows, from 1; 0 for the seed."""
    model: str
    """Name of the proposer."""
    sample: int
    """Sample index among slots that are otherwise alike; part of the request."""
    skipped: str = ""
    """Why the slot is not used (the search has stopped), or empty."""


class ProposalStatus(StrEnum):
    """What became of asking for a candidate."""

    PROPOSED = "proposed"
    NONE = "none"
    """The proposer had nothing (new) to offer, or its reply held no kernel; `reason` says which."""
    SKIPPED = "skipped"
    """Nothing was asked: the search had stopped, or there was nothing to repair."""


class Candidate(Value):
    """A row of `candidates.parquet`: a kernel and how it came to be, or why there is none."""

    round: int
    attempt: int
    """0 for a fresh proposal, 1.. for repairs."""
    slot: int
    parent: str
    """Kernel digest of the parent, or empty."""
    bottleneck: int
    model: str
    sample: int
    status: ProposalStatus
    reason: str = ""
    """Why there is no kernel; empty when there is one."""
    kernel: str = ""
    """Digest of the source text, which lies in the store; empty when there is none."""
    description: str = ""
    """What was changed, in words."""
    request: str = ""
    """Digest of the request that a language model answered; empty for embedded proposers."""
    cost_usd: float = 0.0
    """What the reply cost, in US dollars."""

    @property
    def name(self) -> str:
        """Short readable name, unique in a run: round, attempt, slot."""
        return candidate_name(self.round, self.attempt, self.slot)


def candidate_name(round: int, attempt: int, slot: int) -> str:
    """Short readable name of a candidate, unique in a run: `r2a0s17`."""
    return f"r{round}a{attempt}s{slot}"
