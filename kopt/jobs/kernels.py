"""Kernel sources in the store: each lies under the digest of its own text."""

from __future__ import annotations

from kopt.model.kernel import Kernel
from kopt.model.problem import Problem
from kopt.store import Store

KERNEL = "kernel"
"""Kind of the stored sources."""
SUFFIX = ".py"


def put_kernel(source: str, store: Store) -> str:
    """Keep a kernel's source and return its digest."""
    return store.put_text(KERNEL, source, SUFFIX)


def kernel_source(digest: str, store: Store) -> str:
    """Return the kernel source with this digest.

    Raises:
        StoreError: the store does not have it (any more).
    """
    return store.text(KERNEL, digest, SUFFIX)


def kernel_named(digest: str, problem: Problem, store: Store) -> Kernel:
    """Return the kernel with this digest, with the entry point and the language of the problem's seed.

    Raises:
        StoreError: the store does not have it (any more).
    """
    return problem.seed.with_source(kernel_source(digest, store))
