"""Build a candidate again for the addresses that its arguments had on a GPU.

A candidate may pass what follows from addresses (an alignment, the distance of two tensors) to its kernels, and Triton
specialises a kernel by the values of its arguments.  The CPU stage, which makes addresses up, then compiles another
specialisation than the GPU runs.
"""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory

from kopt.device.build.build import BuildJob, build_all
from kopt.errors import KoptError
from kopt.model.build import Built
from kopt.sandbox.environment import NO_GPU
from kopt.sandbox.fresh import run_with_environment
from kopt.store import Store

log = logging.getLogger(__name__)

START_S = 120.0
"""Time that the fresh process may take beside the build, s."""


def rebuilt_cubins(job: BuildJob, seconds: float) -> frozenset[str]:
    """Build a job in a fresh process; return the digests of its cubins, none when the build fails.

    Args:
        job: the candidate, with the addresses of its arguments.
        seconds: limit of the build, s.
    """
    try:
        with TemporaryDirectory(prefix="kopt-") as folder:
            return run_with_environment(NO_GPU, START_S + seconds, _cubins, job, Path(folder))
    except KoptError as error:
        log.warning("a kernel cannot be built again: %s", error)
        return frozenset()


def _cubins(job: BuildJob, folder: Path) -> frozenset[str]:
    (build,) = [build for _, build in build_all([job], store=Store(folder), workers=1)]
    if not isinstance(build, Built):
        return frozenset()
    return frozenset(launch.cubin for workload in build.workloads for launch in workload.launches)
