"""Estimate the time of the eager PyTorch reference: each operation alone, at the rate of its bytes or arithmetic."""

from __future__ import annotations

from kopt.model.device import Device
from kopt.model.diagnosis import Bound
from kopt.model.problem import Dtype, EagerOp, ProblemFacts, WorkloadFacts
from kopt.model.timing import Estimated, WorkloadEstimate
from kopt.roofline import floor_ms, matmul_tflop_s

OPERATION_SECONDS = 3.0e-6
"""Overhead of one operation of PyTorch on the device."""


def eager_ms(facts: ProblemFacts, device: Device) -> float | None:
    """Estimate the objective of the eager reference, ms; None where it is not known."""
    estimated = estimate_eager(facts, device)
    return estimated.objective_ms if estimated else None


def estimate_eager(facts: ProblemFacts, device: Device) -> Estimated | None:
    """Estimate the time of the eager reference on every main workload.

    Returns:
        None without facts (in a dry run), and where an operation has a cost that does not follow from its bytes and
        operations: no time, and no ratio to it, is better than a wrong one.
    """
    unknown = any(w.unknown or not all(op.known for op in w.eager_ops) for w in facts.workloads)
    if unknown or not facts.workloads:
        return None
    return Estimated(
        device=device.name, workloads=tuple(_workload(workload, facts.dtype, device) for workload in facts.workloads)
    )


def _workload(facts: WorkloadFacts, dtype: Dtype, device: Device) -> WorkloadEstimate:
    operations = [operation for operation in facts.eager_ops if operation.bytes]
    memory = [operation.bytes / device.copy_gb_s / 1e6 for operation in operations]
    compute = [_compute_ms(operation, dtype, device) for operation in operations]
    launch = len(operations) * OPERATION_SECONDS * 1e3
    floor = floor_ms(facts, device, dtype)
    total = sum(map(max, memory, compute)) + launch
    bound: Bound = "latency" if launch > total / 2 else "memory" if sum(memory) >= sum(compute) else "compute"
    return WorkloadEstimate(
        workload=facts.workload, ms=max(total, floor), memory_ms=sum(memory), compute_ms=sum(compute), launch_ms=launch,
        floor_ms=floor, weight=facts.weight, bound=bound, notes=(f"{len(operations)} operations, each on its own",),
    )  # fmt: skip


def _compute_ms(operation: EagerOp, dtype: Dtype, device: Device) -> float:
    products = device.vector_tflop_s if operation.exact else matmul_tflop_s(device, operation.operands or dtype)
    return max(operation.matmul_flops / products, operation.vector_flops / device.vector_tflop_s) / 1e9
