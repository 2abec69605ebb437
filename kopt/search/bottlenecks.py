"""List the bottlenecks: how each shows in a kernel's build, time and counters, and what to try against it.

A rule reads one fact, scores how much of the time the fact explains, and names one direction.  Which directions a
kernel gets is decided by `kopt.search.diagnose`.  The words of causes and directions go into requests and seeds: other
words change what the proposers propose.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from kopt.model.build import HostOp, Launch
from kopt.model.device import Device
from kopt.model.diagnosis import Bound, Profile
from kopt.model.problem import DTYPE_BYTES, WorkloadFacts
from kopt.roofline import Occupancy

LAUNCH_MS = 0.003
"""Overhead of one launch, ms."""


class Reading(NamedTuple):
    """The fact that a rule found in a kernel, with its weight."""

    score: float
    """How much of the time the fact explains, 0 to 1."""
    cause: str
    """The fact with its number."""


class Case(NamedTuple):
    """The facts of one kernel that rules may read."""

    profile: Profile
    launch: Launch
    """The main launch."""
    launches: int
    """Launches of one call, an autotuner's trials counted once."""
    host_ops: tuple[HostOp, ...]
    """Host operations that fill or copy memory."""
    occupancy: Occupancy
    techniques: frozenset[str]
    workload: WorkloadFacts
    device: Device
    heavy: bool
    """Whether matrix products make up a good part of the roofline floor."""

    def metric(self, *names: str, default: float = 0.0) -> float:
        """Look up the first of these metrics that the profile has."""
        return next((v for n in names if (v := self.profile.metrics.get(n)) is not None and math.isfinite(v)), default)

    def share(self, counter: str, static: str, default: float) -> float:
        """Look up a share from 0 to 1: a percentage counter if there is one, else a static share."""
        percent = self.metric(counter, default=-1.0)
        return percent / 100 if percent >= 0 else self.metric(static, default=default)

    @property
    def programs(self) -> int:
        """Programs of the main launch."""
        return math.prod(self.launch.grid)

    @property
    def waves(self) -> float:
        """Number of programs over the number that fit on the device at once."""
        return self.programs / (self.occupancy.blocks * self.device.sm_count)

    def is_bound(self, *bounds: Bound) -> bool:
        """Return whether one of these bounds limits the kernel."""
        return self.profile.bound in bounds


class Rule(NamedTuple):
    """One bottleneck: how it shows, and what to try against it."""

    bottleneck: str
    """Short name."""
    read: Callable[[Case], Reading]
    direction: str
    """The change to try, in a sentence."""
    techniques: tuple[str, ...]
    """Techniques of the taxonomy that the direction may lead to."""


# Scores: near 1 the fact explains the time, at 0.5 the direction is worth a try, under 0.2 it only fills up the list


def _ptx(case: Case, *instructions: str) -> float:
    """Count the instructions of these kinds in the PTX."""
    return sum(case.metric(f"ptx_{name}") for name in instructions)


def _narrow_loads(case: Case) -> Reading:
    narrow, wide = _ptx(case, "load_global"), _ptx(case, "load_global_wide", "cp_async", "tma_load")
    share = narrow / (narrow + wide) if narrow + wide else 0.0
    weight = 0.4 if case.is_bound("compute") else 0.85
    return Reading(0.1 + weight * share, f"{narrow:.0f} of {narrow + wide:.0f} global loads move one word per thread")


def _low_occupancy(case: Case) -> Reading:
    share = case.share("sm__warps_active.avg.pct_of_peak_sustained_active", "occupancy", case.occupancy.share)
    enough = 0.125 if case.heavy else 0.5
    score = 0.1 + max(0.0, enough - share) / enough * (0.4 if case.heavy else 0.7)
    limit = case.occupancy.limit
    return Reading(score, f"{share:.0%} of the device's threads are resident, limited by {limit}")


def _too_few_bytes_in_flight(case: Case) -> Reading:
    share = case.share("dram__throughput.avg.pct_of_peak_sustained_elapsed", "memory_share", 0.5)
    score = 0.1 if case.heavy else 0.15 + 0.75 * max(0.0, 0.95 - share)
    return Reading(score, f"the problem's bytes move at {share:.0%} of the device's copy rate")


def _tail_wave(case: Case) -> Reading:
    idle = 1 - case.waves / math.ceil(case.waves)
    score = 0.05 + 0.8 * idle if case.waves > 1 else 0.05
    return Reading(score, f"{case.waves:.2f} waves: {idle:.0%} of the block slots of the waves stay empty")


def _too_few_programs(case: Case) -> Reading:
    wanted = (1 if case.heavy else 4) * case.device.sm_count
    score = 0.05 + 0.9 * max(0.0, 1 - case.programs / wanted)
    return Reading(score, f"{case.programs} programs for {case.device.sm_count} multiprocessors")


def _launch_overhead(case: Case) -> Reading:
    share = min(LAUNCH_MS * case.launches / max(case.metric("time_ms", default=1.0), 1e-6), 1.0)
    return Reading(0.03 + 0.9 * share, f"{case.launches} launches take about {share:.0%} of the time")


def _masked_inner_loop(case: Case) -> Reading:
    loads = _ptx(case, "load_global", "load_global_wide", "store_global", "store_global_wide")
    kinds = ("load_global", "load_global_wide", "cp_async", "store_global", "store_global_wide")
    if not _ptx(case, *(f"loop_{kind}" for kind in kinds)):
        return Reading(0.05, f"0 of {loads:.0f} global accesses are in a loop")
    guarded = case.metric("ptx_guarded")
    share = guarded / loads if loads else 0.0
    score = 0.1 + (0.45 if case.is_bound("latency", "compute") else 0.3) * share
    return Reading(score, f"{guarded:.0f} of {loads:.0f} global accesses are under a predicate")


def _redundant_traffic(case: Case) -> Reading:
    moved = case.metric("dram__bytes_read.sum") + case.metric("dram__bytes_write.sum")
    ratio = moved / max(case.workload.bytes, 1) if moved else case.metric("traffic_ratio", default=1.0)
    weight = 0.35 if case.heavy else 0.7
    return Reading(0.1 + min(0.85, weight * max(0.0, ratio - 1.05)), f"about {ratio:.2f}x the problem's own bytes move")


def _l2_misses(case: Case) -> Reading:
    hits = case.metric("lts__t_sector_hit_rate.pct", default=-1.0)
    if hits >= 0:
        return Reading(0.1 + (0.6 if case.heavy else 0.1) * (1 - hits / 100), f"{hits:.0f} % of L2 sectors hit")
    shared = sum(t.bytes for t in (*case.workload.inputs, *case.workload.parameters))
    ratio = shared / case.device.l2_bytes
    score = 0.12 + (0.4 if case.heavy and ratio > 1 else 0.0)
    return Reading(score, f"the inputs are {ratio:.1f}x as large as L2, in which tiles could meet")


def _register_pressure(case: Case) -> Reading:
    registers = case.launch.registers
    limits = case.occupancy.limit == "registers"
    score = 0.06 + (0.5 if limits else 0.25) * min(max(registers - 64, 0) / 191, 1.0)
    return Reading(score, f"{registers} registers per thread{', which limits occupancy' if limits else ''}")


def _spills(case: Case) -> Reading:
    spilled = case.launch.spills
    score = 0.02 if not spilled else min(0.97, 0.6 + spilled / 500)
    return Reading(score, f"{spilled} bytes of local memory per thread")


def _tensor_cores_idle(case: Case) -> Reading:
    fast, plain = _ptx(case, "wgmma", "tcgen05"), _ptx(case, "mma")
    active = case.metric("sm__inst_executed_pipe_tensor.avg.pct_of_peak_sustained_active", default=-1.0)
    cause = f"{fast + plain:.0f} matrix instructions in the PTX, {fast:.0f} of them of the fastest kind"
    if active >= 0:
        cause = f"the tensor pipe is {active:.0f} % active"
    if not case.heavy:
        return Reading(0.02, cause)
    if active >= 0:
        return Reading(0.1 + 0.8 * (1 - active / 100), cause)
    return Reading(0.98 if not fast + plain else 0.55 if not fast else 0.15, cause)


def _small_tiles(case: Case) -> Reading:
    output = sum(math.prod(spec.shape) for spec in case.workload.outputs)
    tile = max(output / max(case.programs, 1), 1.0)
    if case.heavy:
        score = 0.15 + 0.65 * max(0.0, 1 - tile / (128 * 128))
        return Reading(score, f"{tile:.0f} output elements per program")
    moved = case.workload.bytes / max(case.programs, 1)
    score = 0.1 + 0.4 * max(0.0, 1 - moved / 32768)
    return Reading(score, f"{moved / 1024:.0f} KiB of the problem's bytes per program")


def _shallow_pipeline(case: Case) -> Reading:
    stages, copies = case.launch.num_stages, _ptx(case, "cp_async", "tma_load")
    looped = _ptx(case, "loop_load_global", "loop_load_global_wide")
    score = 0.15
    if copies:
        score += 0.35 if stages <= 2 else 0.15 if stages == 3 else 0.0
    elif looped:
        score += 0.35
    return Reading(score, f"{stages} stages asked for, {copies:.0f} asynchronous copies in the PTX")


def _instruction_overhead(case: Case) -> Reading:
    loop = max(_ptx(case, "loop_total"), 1.0)
    work = _ptx(case, "loop_fused_multiply_add", "loop_load_global_wide", "loop_wgmma", "loop_cp_async", "loop_special")
    share = 1 - min(work / loop, 1.0) if _ptx(case, "loop_total") else 0.0
    score = 0.1 + (0.5 if case.is_bound("compute", "latency") else 0.25) * max(0.0, share - 0.4)
    return Reading(score, f"{share:.0%} of the {loop:.0f} instructions in loops neither load nor multiply")


def _reduction_in_loop(case: Case) -> Reading:
    shuffles, barriers = _ptx(case, "loop_shuffle"), _ptx(case, "loop_barrier")
    score = 0.04
    if shuffles and not case.heavy:
        score = min(0.97, 0.86 + 0.01 * (shuffles + barriers))
    return Reading(score, f"{shuffles:.0f} shuffles and {barriers:.0f} barriers inside loops")


def _host_operations(case: Case) -> Reading:
    count = len(case.host_ops)
    moved = sum(_host_bytes(op) for op in case.host_ops)
    score = 0.02 if not count else min(0.95, 0.4 + moved / max(case.workload.bytes, 1))
    names = ", ".join(sorted({op.name for op in case.host_ops})[:3])
    return Reading(score, f"{count} host operations touch {moved / 1e6:.1f} MB{f' ({names})' if names else ''}")


def _host_bytes(op: HostOp) -> int:
    sizes = [DTYPE_BYTES.get(name, 4) for name in op.dtypes] + [4] * len(op.shapes)
    return sum(math.prod(shape) * size for shape, size in zip(op.shapes, sizes, strict=False))


def _index_arithmetic(case: Case) -> Reading:
    loop = max(_ptx(case, "loop_total"), 1.0)
    integers = _ptx(case, "loop_integer", "loop_predicate") + 20 * _ptx(case, "loop_divide_integer")
    share = min(integers / loop, 1.0)
    divisions = _ptx(case, "divide_integer")
    score = 0.1 + (0.6 if case.is_bound("compute", "latency") else 0.3) * max(0.0, share - 0.2)
    return Reading(score, f"{share:.0%} of the instructions in loops reckon indices, {divisions:.0f} integer divisions")


def _untuned_configuration(case: Case) -> Reading:
    tuned = "autotuned_config" in case.techniques
    warps, stages = case.launch.num_warps, case.launch.num_stages
    return Reading(0.12 if tuned else 0.42, f"one configuration: {warps} warps, {stages} stages" if not tuned else
                   f"tuned among configurations, {warps} warps and {stages} stages here")  # fmt: skip


RULES: tuple[Rule, ...] = (
    Rule("spills", _spills, "Use smaller tiles or more warps so that the accumulators fit in registers.", ()),
    Rule("tensor_cores_idle", _tensor_cores_idle,
         "Compute the product with tl.dot on the narrow operands, in tiles that the fastest matrix instruction takes.",
         ("tensor_cores", "shared_memory_tiling")),
    Rule("reduction_in_loop", _reduction_in_loop,
         "Accumulate elementwise in registers and reduce across threads once, after the loop.", ("register_tiling",)),
    Rule("too_few_programs", _too_few_programs,
         "Split the reduction over more programs, each writing a partial result that is combined afterwards.",
         ("split_k_reduce", "atomic_reduction")),
    Rule("redundant_traffic", _redundant_traffic,
         "Read every input once: fuse passes, keep a row in registers, let one program serve several rows.",
         ("register_tiling", "epilogue_fusion")),
    Rule("narrow_loads", _narrow_loads,
         "Let every thread load 16 bytes at once: contiguous offsets, alignment hints, larger blocks, fewer warps.",
         ("vectorized_load",)),
    Rule("too_few_bytes_in_flight", _too_few_bytes_in_flight,
         "Keep more loads in flight: larger blocks, several rows per program, unrolled loops, deeper pipelines.",
         ("loop_unrolling", "software_pipelining", "async_copy_tma")),
    Rule("shallow_pipeline", _shallow_pipeline,
         "Load ahead of the computation with more stages (num_stages, tl.range), or with tensor descriptors.",
         ("software_pipelining", "async_copy_tma")),
    Rule("small_tiles", _small_tiles,
         "Give every program a larger tile, so that what it loads is used more often.",
         ("shared_memory_tiling", "register_tiling")),
    Rule("low_occupancy", _low_occupancy,
         "Let more blocks live on a multiprocessor: fewer registers, less shared memory, other numbers of warps.", ()),
    Rule("tail_wave", _tail_wave,
         "Fit the grid to the device: a persistent grid of one program per multiprocessor, or other tile sizes.",
         ("persistent_kernel",)),
    Rule("l2_misses", _l2_misses,
         "Visit the tiles in groups so that neighbours share operands in L2; keep streamed data out of it.",
         ("grid_swizzling",)),
    Rule("host_operations", _host_operations,
         "Do casts, fills and copies inside the kernel instead of around it.", ("epilogue_fusion",)),
    Rule("masked_inner_loop", _masked_inner_loop,
         "Drop the masks where the shapes divide evenly, or peel the last iteration off the loop.", ()),
    Rule("instruction_overhead", _instruction_overhead,
         "Do more useful work per instruction: unroll the inner loop and hoist what does not change.",
         ("loop_unrolling",)),
    Rule("index_arithmetic", _index_arithmetic,
         "Reckon offsets once and move pointers by constants; make shapes and strides compile-time values.", ()),
    Rule("register_pressure", _register_pressure,
         "Shorten live ranges: smaller tiles, more warps per tile, accumulators of the needed width only.",
         ("warp_specialization",)),
    Rule("launch_overhead", _launch_overhead,
         "Merge launches: combine partial results with atomics or in the last program.", ("atomic_reduction",)),
    Rule("untuned_configuration", _untuned_configuration,
         "Try other tile sizes, warps and stages, by hand or with an autotuner over several configurations.",
         ("autotuned_config",)),
)  # fmt: skip
"""All rules; among equal scores the earlier rule comes first."""
