"""Describe values in words: contract, device, times, build, counters, history."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kopt.model.build import Built, Launch
from kopt.model.device import Device
from kopt.model.diagnosis import Direction, Profile
from kopt.model.problem import Layout, Problem, ProblemFacts, TensorSpec, WorkloadFacts
from kopt.prompts.context import Event, Memory, Parent, ParentTimes, PromptContext, WorkloadTimes
from kopt.roofline import occupancy

METRICS: dict[str, str] = {
    "sm__cycles_active.avg": "active cycles per SM",
    "sm__warps_active.avg.pct_of_peak_sustained_active": "achieved occupancy, % of peak",
    "launch__occupancy_limit_blocks": "blocks per SM allowed by the block limit",
    "launch__occupancy_limit_registers": "blocks per SM allowed by registers",
    "launch__occupancy_limit_shared_mem": "blocks per SM allowed by shared memory",
    "launch__registers_per_thread": "registers per thread",
    "sm__inst_executed.sum": "warp instructions executed",
    "sm__inst_executed_pipe_fp32.avg.pct_of_peak_sustained_active": "FP32 pipe use, % of peak",
    "sm__inst_executed_pipe_tensor.avg.pct_of_peak_sustained_active": "tensor pipe instructions, % of peak",
    "dram__bytes_read.sum": "DRAM bytes read",
    "dram__bytes_write.sum": "DRAM bytes written",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed": "DRAM throughput, % of peak",
    "dram__bytes.sum.per_second": "DRAM bytes per second",
    "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed": "DRAM throughput over the whole GPU, % of peak",
    "launch__shared_mem_per_block_allocated": "shared memory per block, bytes",
    "l1tex__t_sector_hit_rate.pct": "L1 hit rate, %",
    "l1tex__throughput.avg.pct_of_peak_sustained_active": "L1 throughput, % of peak",
    "lts__t_sector_hit_rate.pct": "L2 hit rate, %",
    "lts__throughput.avg.pct_of_peak_sustained_active": "L2 throughput, % of peak",
    "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_elapsed": "tensor cores active, % of time",
    "smsp__sass_average_data_bytes_per_sector_mem_global_op_ld.pct": "useful bytes per loaded sector, %",
    "smsp__warp_issue_stalled_memory_dependency_per_warp_active.pct": "stalled on memory dependencies, % of warps",
    "smsp__warp_issue_stalled_short_scoreboard_per_warp_active.pct": "stalled on shared memory and MUFU, % of warps",
    "smsp__warp_issue_stalled_long_scoreboard_per_warp_active.pct": "stalled on global memory, % of warps",
    "smsp__warp_issue_stalled_barrier_per_warp_active.pct": "stalled at barriers, % of warps",
    "smsp__warp_issue_stalled_branch_resolving_per_warp_active.pct": "stalled on branches, % of warps",
    "smsp__sass_average_branch_targets_threads_uniform.pct": "branches that do not diverge, %",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed": "SM throughput, % of peak",
    "gpu__compute_memory_throughput.avg.pct_of_peak_sustained_elapsed": "compute or memory throughput, % of peak",
}
"""Description of each hardware counter, with its unit."""


TIMES = frozenset({"time_ms", "ncu_time_ms", "gpu__time_duration.sum"})
"""Metrics that are times of one launch or workload; the prompt tells times in one place."""


def contract(problem: Problem, facts: ProblemFacts) -> str:
    """Write the contract of a kernel: signature, shapes (where the workloads were traced), dtype, permissions."""
    first = next(iter(facts.workloads), None)
    names = ", ".join(spec.name for spec in first.inputs) if first else "..."
    lines = [
        f"- Define `{problem.seed.entry}({names})`. It gets the reference's inputs in this order and returns"
        " what the reference returns.",
        *_parameters(first.parameters if first else ()),
        f"- dtype: {_dtypes(problem, facts)}. Each tensor returned has exactly the reference's {_properties(problem)}.",
        *(_shapes(workload) for workload in facts.workloads),
        "- It is timed on these shapes and verified on others too, with ragged sizes: take sizes from the arguments.",
        f"- {_mutation(problem)}",
        "- All arithmetic runs in Triton kernels that this module defines. On the host only: views, reshapes, "
        "allocation (torch.empty, zeros), casts of dtype, fills. No matmul, reduction or elementwise maths of torch, "
        "no torch.compile, no CUDA graphs, no streams, no try/except fallback.",
        "- Results are compared in float64 on fresh inputs of several distributions, with a tolerance of about the "
        "reference's own rounding error in this dtype: accumulate in fp32.",
        "- The module imports only torch, triton and triton.language (math is fine), does nothing at import but "
        "define, keeps no state between calls, reads no file, environment or network.",
    ]
    return "\n".join(lines)


def _parameters(parameters: Sequence[TensorSpec]) -> list[str]:
    if not parameters:
        return []
    listed = ", ".join(f"{p.name} {shape(p)}" for p in parameters)
    return [f"- Parameters of the reference model are passed by name where the signature asks for them: {listed}."]


def _shapes(workload: WorkloadFacts) -> str:
    inputs = ", ".join(f"{spec.name} {shape(spec)}" for spec in workload.inputs)
    moved = f"{workload.bytes / 1e6:.4g} MB at least, {_flops(workload)}"
    return f"- Workload {workload.workload}: {inputs} -> {_outputs(workload)}; {moved}."


def _outputs(workload: WorkloadFacts) -> str:
    """Write the outputs: the shape of a single one, several ones with their names."""
    if len(workload.outputs) == 1:
        return shape(workload.outputs[0])
    return ", ".join(f"{spec.name} {shape(spec)}" for spec in workload.outputs) or "outputs of unknown shape"


def shape(spec: TensorSpec) -> str:
    """Write a tensor's shape and dtype: `(2048, 1048576) bfloat16`."""
    return f"{spec.shape} {spec.dtype}"


def _flops(workload: WorkloadFacts) -> str:
    return f"{workload.matmul_flops / 1e9:.4g} GFLOP of matrix products, {workload.vector_flops / 1e9:.4g} GFLOP else"


def _dtypes(problem: Problem, facts: ProblemFacts) -> str:
    return "of each input as listed below" if problem.keep_dtypes else facts.dtype.value


def _properties(problem: Problem) -> str:
    return "shape, dtype, device and strides" if problem.layout is Layout.REFERENCE else "shape, dtype and device"


def _mutation(problem: Problem) -> str:
    if problem.mutates:
        return f"It must change {', '.join(problem.mutates)} as the reference does, and write to no other input."
    return "It must not write to its inputs."


def device(given: Device) -> str:
    """Describe the GPU in numbers."""
    rates = ", ".join(f"{name} {rate:g}" for name, rate in sorted(given.matmul_tflop_s.items()))
    source = "measured on this very GPU" if given.measured else "from a description, not measured here"
    return "\n".join(
        [
            f"- {given.name}, compute capability {given.arch // 10}.{given.arch % 10}, {given.sm_count} SMs, "
            f"{given.sm_clock_mhz} MHz",
            f"- per SM: {given.shared_bytes_per_sm} bytes of shared memory ({given.shared_bytes_per_block} per block), "
            f"{given.registers_per_sm} registers, {given.threads_per_sm} threads, {given.blocks_per_sm} blocks",
            f"- L2 {given.l2_bytes / 2**20:g} MiB, memory {given.memory_bytes / 2**30:.3g} GiB",
            f"- rates ({source}): copy {given.copy_gb_s:g} GB/s, matrix products in TFLOP/s {rates or 'unknown'}, "
            f"FP32 outside tensor cores {given.vector_tflop_s:g} TFLOP/s",
        ]
    )


def times(given: ParentTimes) -> str:
    """Compare a kernel's time with eager PyTorch, torch.compile, the best kernel, the seed and the roofline."""
    interval = f" (95 % interval {given.low_ms:.4g} to {given.high_ms:.4g})" if given.low_ms and given.high_ms else ""
    how = "estimated from the build, nothing was measured" if given.estimated else "measured, cold L2"
    several = len(given.workloads) > 1
    mean = ", geometric mean over the workloads" if several else ""
    lines = [f"- this kernel: {given.ms:.4g} ms{interval}, {how}{mean}"]
    compared = (
        ("PyTorch eager", given.eager_ms),
        ("torch.compile", given.compile_ms),
        ("best kernel so far", given.best_ms),
        ("seed kernel", given.seed_ms),
    )
    lines += [f"- {name}: {ms:.4g} ms ({ms / given.ms:.3g} x this kernel's time)" for name, ms in compared if ms]
    lines.append(f"- roofline floor: {given.floor_ms:.4g} ms; this kernel reaches {given.roofline_share:.1%} of it")
    lines += [f"- workload {each.workload}: {_workload_times(each)}" for each in given.workloads if several]
    return "\n".join(lines)


def _workload_times(given: WorkloadTimes) -> str:
    compared = (
        ("PyTorch eager", given.eager_ms), ("torch.compile", given.compile_ms), ("roofline floor", given.floor_ms),
    )  # fmt: skip
    others = [f"{name} {ms:.4g} ms ({ms / given.ms:.3g} x)" for name, ms in compared if ms]
    return "; ".join([f"this kernel {given.ms:.4g} ms", *others])


def build(built: Built, given: Device) -> str:
    """List registers, spills, shared memory and occupancy of each launch."""
    lines = []
    for workload in built.workloads:
        lines.append(f"- workload {workload.workload}:")
        lines += [f"  - {_launch(launch, given)}" for launch in workload.launches]
        if workload.host_ops:
            lines.append(f"  - on the host: {', '.join(dict.fromkeys(op.name for op in workload.host_ops))}")
    return "\n".join(lines)


def _launch(launch: Launch, given: Device) -> str:
    resident = occupancy(launch, given)
    blocks = launch.grid[0] * launch.grid[1] * launch.grid[2]
    constants = f", {', '.join(f'{k}={v}' for k, v in launch.constants)}" if launch.constants else ""
    trial = " (one of the autotuner's configurations)" if launch.trial else ""
    return (
        f"{launch.kernel}: grid {launch.grid} = {blocks} blocks ({blocks / given.sm_count:.3g} per SM), "
        f"num_warps={launch.num_warps}, num_stages={launch.num_stages}{constants}; "
        f"{launch.registers} registers a thread, {launch.spills} bytes spilled, {launch.shared_bytes} bytes shared; "
        f"{resident.blocks} blocks resident per SM, occupancy {resident.share:.0%}, limited by {resident.limit}{trial}"
    )


def profile(given: Profile) -> str:
    """List the counters with their labels.

    Left out are counters that the device does not offer, counts of what does not occur, and the time, which stands
    elsewhere.
    """
    how = "hardware counters" if given.kind == "counters" else "worked out from build and time, no counter was read"
    where = f" on workload {given.workload}, the furthest from its floor" if len(given.times_ms) > 1 else ""
    lines = [f"- {given.bound}-bound{where} ({how})"]
    for name, value in sorted(given.metrics.items()):
        if value is not None and name not in TIMES and (value or name in METRICS):
            label = METRICS.get(name)
            lines.append(f"- {label}: {value:.6g} [{name}]" if label else f"- {name}: {value:.6g}")
    return "\n".join([*lines, *(f"- {note}" for note in given.notes)])


def direction(given: Direction) -> str:
    """Write a direction as a paragraph."""
    leads = f" Techniques it may lead to: {', '.join(given.techniques)}." if given.techniques else ""
    cause, what = given.cause.rstrip(". "), given.direction.rstrip(". ")
    return f"Bottleneck: {given.bottleneck}. Seen in: {cause}. Direction: {what}.{leads}"


def history(events: Iterable[Event]) -> str:
    """List earlier candidates, one a line, in the order given."""
    return "\n".join(f"- {_event(event)}" for event in events)


def _event(event: Event) -> str:
    parts = [f"{event.name} ({event.model}): {event.description or 'no description'}"]
    if event.techniques:
        parts.append(f"[{', '.join(event.techniques)}]")
    time = f", {event.ms:.4g} ms" if event.ms is not None else ""
    ratio = f", {event.ratio:.3g} x its parent's time" if event.ratio is not None else ""
    reason = f": {event.reason}" if event.reason else ""
    return " ".join(parts) + f" -> {event.outcome}{time}{ratio}{reason}"


def reflections(memory: Memory) -> str:
    """List the lessons of earlier rounds, in the order given."""
    lines = []
    for lesson in memory.reflections:
        lines.append(f"- round {lesson.round}")
        for word, items in (("worked", lesson.worked), ("failed", lesson.failed), ("try", lesson.advice)):
            lines += [f"  - {word}: {item}" for item in items]
    return "\n".join(lines)


def pool(memory: Memory) -> str:
    """List the sets of techniques that kernels of the pool use, each with its count and best time."""
    named = ((", ".join(share.techniques) or "none of the known techniques", share) for share in memory.pool)
    return "\n".join(f"- {names}: {share.kernels} kernels, best {share.best_ms:.4g} ms" for names, share in named)


def taxonomy(context: PromptContext) -> str:
    """List the techniques of the taxonomy by name, with their meaning."""
    return "\n".join(f"- {t.name}: {t.description}" for t in context.techniques)


def parent_techniques(parent: Parent) -> str:
    """List the techniques that a parent uses."""
    return ", ".join(parent.techniques) or "none of the known techniques"
