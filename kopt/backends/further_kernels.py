"""Compile kernels ahead of a judge on a GPU for the workloads beside the main ones, and keep them in the store."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from kopt.artifact import text_digest
from kopt.errors import KoptError
from kopt.jobs.builds import further_key
from kopt.jobs.target import ProblemOnTarget
from kopt.model.build import FurtherKernels
from kopt.model.kernel import Kernel

log = logging.getLogger(__name__)


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
    missing = [kernel for kernel, key in keys.items() if shelf.get(key) is None]
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
