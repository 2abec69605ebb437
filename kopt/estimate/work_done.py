"""Refuse kernels that leave work out at full size, where the judge without a GPU does not run them.

Triton's interpreter judges small workloads.  A kernel may be right on those, do little on the workload that is timed,
and look as fast as the device allows.  Its trace at full size shows what its launches read and multiply there.
"""

from __future__ import annotations

from kopt.model.build import Phase
from kopt.model.timing import Estimated
from kopt.model.verdict import Failed

LEAST = 0.9
"""Least share of the problem's work.  103 honest kernels did 0.99 and more wherever the walk reached the end; one whose
windows overlap and begin outside did 0.96, since the walk looks at a sample of threads."""


def undone_work(timing: Estimated, seed: Estimated | None, judge: str) -> Failed | None:
    """Return the failure of a kernel that does too little on a main workload; None when it does enough.

    Args:
        timing: the kernel's estimate.
        seed: the seed kernel's estimate.  The seed is trusted: where it does less (inputs that are read in part), other
            kernels may do as little.
        judge: name of the judge that the verdict names.
    """
    trusted = {workload.workload: workload.done for workload in seed.workloads} if seed else {}
    for workload in timing.workloads:
        if workload.done < LEAST * trusted.get(workload.workload, 1.0):
            reason = (
                f"workload {workload.workload}, as traced at full size: "
                f"the launches do {workload.done:.0%} of the work (the least of inputs' bytes read, matrix products, "
                "and time over the roofline's floor): part of the problem is left out there"
            )
            return Failed(judge=judge, phase=Phase.ROOFLINE, reason=reason)
    return None
