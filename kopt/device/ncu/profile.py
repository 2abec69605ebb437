"""Make a profile of counters, and name the kernels in it that are none of the candidate's."""

from __future__ import annotations

from collections.abc import Collection

from kopt.device.ncu.csv import TIME
from kopt.device.ncu.outcome import Counted
from kopt.model.device import Device
from kopt.model.diagnosis import Bound, Profile
from kopt.model.problem import Dtype, WorkloadFacts
from kopt.roofline import LATENCY_SHARE, floor_ms

TORCH_KERNELS = ("FillFunctor", "copy_kernel", "CatArrayBatchedCopy", "arange")
"""Parts of the names of torch's kernels that fill, copy and cast, which a candidate may use."""


def counters_profile(
    counted: Counted, static: Profile, workload: WorkloadFacts, device: Device, dtype: Dtype
) -> Profile:
    """Make a profile of counters, as shares of the device's *measured* rates, on top of a static profile.

    Args:
        counted: the counters.
        static: the profile without counters (build, instruction mix, time), whose metrics are kept.
        workload: facts of the workload that was profiled.
        device: rates measured, or described.
        dtype: the problem's.
    """
    metrics = counted.metrics
    ms = (metrics[TIME] or 0.0) / 1e6
    moved = _sum(metrics["dram__bytes_read.sum"], metrics["dram__bytes_write.sum"])
    memory = moved / ms / 1e6 / device.copy_gb_s if moved is not None else None
    shares = {"dram_share": memory, "ncu_time_ms": ms, "launches": float(len(counted.launches))}
    return Profile(
        kind="counters",
        bound=_bound(metrics, memory),
        roofline_share=min(floor_ms(workload, device, dtype) / ms, 1.0),
        metrics=static.metrics | metrics | shares,
        notes=(f"hardware counters of {len(counted.launches)} launches, workload {workload.workload}",),
    )


def foreign_kernels(counted: Counted, built: Collection[str]) -> tuple[str, ...]:
    """Name the kernels that ran and are neither of the build nor fills, copies and casts of torch.

    A candidate can hide a library's kernel from the tracer, but not from the profiler, which is out of its reach.

    Args:
        counted: counters of all launches.
        built: names of the build's kernels.
    """
    names = dict.fromkeys(launch.kernel for launch in counted.launches)
    return tuple(name for name in names if name not in built and not any(part in name for part in TORCH_KERNELS))


def _bound(metrics: dict[str, float | None], memory: float | None) -> Bound:
    """Return the busiest unit, or latency when none is busy."""
    percent = {
        "memory": ("lts__throughput.avg.pct_of_peak_sustained_active",),
        "compute": (
            "sm__throughput.avg.pct_of_peak_sustained_elapsed",
            "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_elapsed",
        ),
    }
    busy = {kind: max((metrics[name] or 0.0) / 100 for name in names) for kind, names in percent.items()}
    most = max(busy["memory"], memory or 0.0)
    if max(most, busy["compute"]) < LATENCY_SHARE:
        return "latency"
    return "memory" if most >= busy["compute"] else "compute"


def _sum(read: float | None, written: float | None) -> float | None:
    return None if read is None or written is None else read + written
