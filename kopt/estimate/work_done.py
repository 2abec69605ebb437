"""Refuse kernels that leave work out at full size, where the judge without a GPU does not run them.

kopt's interpreter judges small workloads.  A kernel may be right on those, do little on the workload that is timed,
and look as fast as the device allows.  Its trace at full size shows what its launches read, write and multiply there
(`kopt.estimate.work_shares`).
"""

from __future__ import annotations

from kopt.model.build import Phase
from kopt.model.timing import Estimated
from kopt.model.verdict import Failed

LEAST = 0.9
"""Least share of the work that every right kernel must do."""


def undone_work(timing: Estimated, seed: Estimated | None, judge: str) -> Failed | None:
    """Return the failure of a kernel that leaves work out, or leaves its tensors, on a main workload; None for others.

    Args:
        timing: the kernel's estimate.
        seed: the seed kernel's estimate.  The seed is trusted: where it does less, other kernels may do as little.
        judge: name of the judge that the verdict names.
    """
    trusted = {workload.workload: workload for workload in seed.workloads} if seed else {}
    for workload in timing.workloads:
        where = f"workload {workload.workload}, as traced at full size"
        known = trusted.get(workload.workload)
        if workload.outside and not (known and known.outside):
            return Failed(judge=judge, phase=Phase.LAUNCH, reason=f"{where}: {workload.outside}")
        if workload.done < LEAST * (known.done if known else 1.0):
            reason = (
                f"{where}: {workload.done:.0%} {workload.lacking or 'of the work'}: part of the problem is left out "
                "there; where a right kernel needs less, say so by `floor:` in problem.yaml"
            )
            return Failed(judge=judge, phase=Phase.ROOFLINE, reason=reason)
    return None
