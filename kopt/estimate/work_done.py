"""Does a kernel do its work at full size?  Without a GPU nobody runs it there; its traced launches say what it moves.

Triton's interpreter judges small workloads.  A kernel may be right on those, do little on the workload that is timed,
and look as fast as the device allows.  What its launches read and multiply there is known from the trace.
"""

from __future__ import annotations

from kopt.model.build import Phase
from kopt.model.timing import Estimated
from kopt.model.verdict import Failed

LEAST = 0.9
"""Least share of the problem's work.  103 honest kernels did 0.99 and more wherever the walk came to its end, one whose
windows overlap and begin outside 0.96: the walk looks at a sample of threads."""


def undone_work(timing: Estimated, seed: Estimated | None, judge: str) -> Failed | None:
    """The failure of a kernel that does too little on a main workload; None when it does enough.

    Args:
        timing: the kernel's estimate.
        seed: the seed kernel's, which is trusted: where it gets by with less (inputs that are read in part), so may
            others.
        judge: in whose name.
    """
    trusted = {one.workload: one.done for one in seed.workloads} if seed else {}
    for one in timing.workloads:
        if one.done < LEAST * trusted.get(one.workload, 1.0):
            reason = (
                f"workload {one.workload}, as traced at full size: the launches do {one.done:.0%} of the work (the "
                "least of inputs' bytes read, matrix products, and time over the roofline's floor): part of the "
                "problem is left out there"
            )
            return Failed(judge=judge, phase=Phase.ROOFLINE, reason=reason)
    return None
