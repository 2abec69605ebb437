"""Estimate times from builds, and store the estimates."""

from __future__ import annotations

from kopt import artifact
from kopt.estimate.kernel_time import estimate
from kopt.jobs.builds import built_named
from kopt.jobs.keys import EstimateKey
from kopt.model.device import Device
from kopt.model.problem import ProblemFacts
from kopt.model.timing import Estimated
from kopt.provenance import code_digest
from kopt.store import Store


def known_estimate(build: str, facts: ProblemFacts, device: Device, store: Store) -> Estimated | None:
    """Look up the estimated time of the build whose key has the digest `build`; None where the store holds none."""
    return store.shelf(Estimated).get(_key(build, facts, device))


def estimate_time(build: str, facts: ProblemFacts, device: Device, store: Store) -> Estimated:
    """Estimate the time of the build whose key has the digest `build`, or read the estimate from the store.

    Raises:
        StoreError: the build is not in the store, or no longer.
    """
    built = built_named(build, store)
    return store.shelf(Estimated).get_or_make(
        _key(build, facts, device),
        lambda: estimate(built, facts, device, lambda name: store.text("ptx", name, ".ptx")),
    )


def _key(build: str, facts: ProblemFacts, device: Device) -> EstimateKey:
    return EstimateKey(
        build=build, facts=artifact.digest(facts), device=artifact.digest(device),
        code=code_digest("kopt.estimate.kernel_time"),
    )  # fmt: skip
