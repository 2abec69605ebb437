"""Compile kernels ahead of a judge on a GPU for the workloads beside the main ones, and keep them in the store."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from kopt.artifact import text_digest
from kopt.errors import KoptError
from kopt.jobs.builds import further_key
from kopt.jobs.target import ProblemOnTarget
from kopt.model.build import FurtherKernels
from kopt.model.kernel import Kernel
from kopt.sandbox.service import CHECK_S, ServiceProcess

log = logging.getLogger(__name__)

_TRIED: set[str] = set()
"""Digests of the keys of kernels that this process has had compiled beside their builds; what failed fails again."""


def keep_further(kernels: Sequence[Kernel], target: ProblemOnTarget, *, workers: int, seconds: float) -> None:
    """Compile kernels that have a build for the workloads beside the main ones, unless the store knows them.

    What goes wrong is no fault of this: a kernel that is not compiled here is compiled by the judge.

    Args:
        kernels: the kernels.
        target: the problem, and the device to compile for.
        workers: child processes at a time.
        seconds: limit of one child, s; the whole takes at most one and a half of it.
    """
    problem, device, store = target.problem, target.device, target.store
    shelf = store.shelf(FurtherKernels)
    keys = {kernel: further_key(text_digest(kernel.source), problem, device) for kernel in kernels}
    missing = [kernel for kernel, key in keys.items() if key.digest() not in _TRIED and shelf.get(key) is None]
    if not missing:
        return
    from kopt.device.build.further import compile_further

    start = time.monotonic()
    try:
        for kernel, made in zip(
            missing,
            compile_further(missing, problem, device, store=store, workers=workers, seconds=seconds),
            strict=True,
        ):
            if made.kernels:
                shelf.put(keys[kernel], made)
    except (KoptError, OSError) as error:
        log.warning("kernels are left to the judge to compile: %s", type(error).__name__)
    log.info(
        "%d kernels were compiled for other workloads, or failed, in %.1f s", len(missing), time.monotonic() - start
    )


@contextmanager
def further_beside(
    kernels: Sequence[Kernel], target: ProblemOnTarget, *, workers: int, seconds: float
) -> Iterator[None]:
    """Do in a process of its own what `keep_further` does, while the same kernels are built in the block.

    Some are compiled for nothing, since they have no build or equal others; none is that the screen refuses.

    Args:
        kernels: the kernels.
        target: as for `keep_further`.
        workers: child processes at a time, beside those that build.
        seconds: as for `keep_further`.
    """
    process = ServiceProcess("the process that compiles ahead of the judge", lambda: _Ahead(target))
    try:
        process.begin("keep", list(kernels), workers, seconds)
        yield
        try:
            process.call("done", seconds=CHECK_S)
        except KoptError as error:
            log.warning("kernels are left to the judge to compile: %s", type(error).__name__)
        names = [text_digest(kernel.source) for kernel in kernels]
        _TRIED.update(further_key(name, target.problem, target.device).digest() for name in names)
    finally:
        process.kill()


class _Ahead:
    """Compile kernels while others build them."""

    def __init__(self, target: ProblemOnTarget) -> None:
        self._target = target

    def keep(self, kernels: Sequence[Kernel], workers: int, seconds: float) -> None:
        """Compile the kernels that the screen permits."""
        from kopt.device.screen.rules import screen
        from kopt.device.screen.syntax import check_syntax

        permitted = [kernel for kernel in kernels if check_syntax(kernel) is None and screen(kernel) is None]
        keep_further(permitted, self._target, workers=workers, seconds=seconds)

    def done(self) -> None:
        """Answer once the kernels have been compiled."""
