"""Stage `seed`: make round 0's only candidate from the problem's seed kernel."""

from __future__ import annotations

from kopt.jobs.kernels import put_kernel
from kopt.model.kernel import Candidate, Kernel, ProposalStatus
from kopt.store import Store


def seed_candidate(seed: Kernel, store: Store) -> Candidate:
    """Make round 0's only candidate."""
    return Candidate(
        round=0, attempt=0, slot=0, parent="", bottleneck=0, model="seed", sample=0, status=ProposalStatus.PROPOSED,
        kernel=put_kernel(seed.source, store), description="the problem's seed kernel",
    )  # fmt: skip
