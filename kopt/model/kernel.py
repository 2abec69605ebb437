"""Define a kernel, source text with an entry point, and a candidate, a kernel and how it came to be."""

from __future__ import annotations

from enum import StrEnum

from kopt.model.base import Value
from kopt.model.language import Language


class Kernel(Value):
    """Source text with an entry point."""

    source: str
    """A whole Python module that defines the entry point, and the kernels that it launches in `language`."""
    entry: str = "kernel_function"
    """Name of the function that takes the problem's inputs and returns its output."""
    language: Language = "triton"
    """Language of the kernels that the entry point launches."""

    def with_source(self, source: str) -> Kernel:
        """Return the kernel of another source text with the same entry point and language."""
        return self.model_copy(update={"source": source})


class Slot(Value):
    """One position of a round's fan-out (parents × bottlenecks × models × samples): a proposer and its assignment."""

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
    """Index among slots that are otherwise alike, from 0; part of the request."""
    skipped: str = ""
    """Why the slot is not used (the search has stopped); empty for a slot that is."""


class ProposalStatus(StrEnum):
    """Whether a slot got a candidate."""

    PROPOSED = "proposed"
    NONE = "none"
    """The proposer offered nothing (new), or its reply held no kernel; `reason` says which."""
    SKIPPED = "skipped"
    """No proposer was asked: the search had stopped, or there was nothing to repair."""


MADE_SEED = "kopt-seed"
"""Model of the candidate whose kernel kopt makes of the reference, beside the problem's own seed kernel."""


def none_reason(code: str, detail: str) -> str:
    """Write why a slot has no kernel: a short code and a description in one line."""
    return f"{code}: {detail}"


def reason_code(reason: str) -> str:
    """Return the code of a reason that `none_reason` wrote; another text's first words."""
    return reason.partition(": ")[0]


class Candidate(Value):
    """A row of `candidates.parquet`: a kernel and how it came to be, or the reason why there is none."""

    round: int
    attempt: int
    """0 for a fresh proposal, 1 and up for repairs."""
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
    """Digest of the source text, which lies in the store; empty when there is no kernel."""
    description: str = ""
    """The proposer's description of the change."""
    request: str = ""
    """Digest of the request that a language model answered; empty for an embedded proposer."""
    cost_usd: float = 0.0
    """Cost of the reply, US dollars."""
    moves: tuple[str, ...] = ()
    """Transformations of the rewriter that made the kernel of its parent, in order; in a repair of the failed kernel,
    those that had made it come first.  None where the rewriter did not make the kernel."""
    sketch: str = ""
    """Digest of the source without its numbers (`kopt.rewrite.tunables`); empty where the rewriter did not make it."""
    numbers: tuple[str, ...] = ()
    """The numbers of the source that may be tuned, `kernel.NAME=value` each."""

    @property
    def name(self) -> str:
        """Short readable name, unique in a run, of round, attempt and slot: `r2a0s17`."""
        return candidate_name(self.round, self.attempt, self.slot)


def candidate_name(round: int, attempt: int, slot: int) -> str:
    """Return the short readable name of a candidate, unique in a run: `r2a0s17`."""
    return f"r{round}a{attempt}s{slot}"
