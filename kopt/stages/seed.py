"""Stage `seed`: make round 0's candidates: the problem's seed kernel, and one made of the reference if asked."""

from __future__ import annotations

from kopt.errors import SeedError
from kopt.jobs.kernels import put_kernel
from kopt.jobs.made_seed import made_seed
from kopt.model.device import Device
from kopt.model.kernel import MADE_SEED, Candidate, Kernel, ProposalStatus
from kopt.model.outcome import SEED
from kopt.model.problem import Problem
from kopt.store import Store


def seed_candidate(seed: Kernel, store: Store) -> Candidate:
    """Make the candidate of the problem's seed kernel, round 0's first."""
    return _candidate(0, SEED, put_kernel(seed.source, store), "the problem's seed kernel")


def second_candidate(problem: Problem, device: Device, store: Store) -> Candidate:
    """Make the candidate of the seed kernel that kopt makes of the reference; one without a kernel where it cannot.

    Args:
        problem: the problem, which has a seed kernel of its own.
        device: the device to write for.
        store: keeps kernels, and seeds that were made.
    """
    try:
        kernel = made_seed(problem, device, store, f"{problem.name} is to have a second seed")
    except SeedError as error:
        return _candidate(1, MADE_SEED, "", "", str(error))
    return _candidate(1, MADE_SEED, put_kernel(kernel.source, store), "a seed kernel made of the reference")


def _candidate(slot: int, model: str, kernel: str, description: str, reason: str = "") -> Candidate:
    return Candidate(
        round=0, attempt=0, slot=slot, parent="", bottleneck=0, model=model, sample=0,
        status=ProposalStatus.PROPOSED if kernel else ProposalStatus.NONE, reason=reason, kernel=kernel,
        description=description,
    )  # fmt: skip
