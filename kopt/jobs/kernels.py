"""Store and read kernel sources, each under the digest of its text."""

from __future__ import annotations

from kopt.model.kernel import Kernel
from kopt.model.problem import Problem
from kopt.store import Store

KERNEL = "kernel"
"""Kind of kernel sources in the store."""
SUFFIX = ".py"


def put_kernel(source: str, store: Store) -> str:
    """Store a kernel's source and return its digest."""
    return store.put_text(KERNEL, source, SUFFIX)


def kernel_source(digest: str, store: Store) -> str:
    """Return the kernel source with this digest.

    Raises:
        StoreError: the source is not in the store, or no longer.
    """
    return store.text(KERNEL, digest, SUFFIX)


def kernel_named(digest: str, problem: Problem, store: Store) -> Kernel:
    """Return the kernel with this digest, with the entry point and the language of the problem's seed kernel.

    Raises:
        StoreError: the source is not in the store, or no longer.
    """
    return problem.seed.with_source(kernel_source(digest, store))
