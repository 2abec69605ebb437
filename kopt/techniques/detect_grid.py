"""Detect how a kernel is launched: persistence, order of tiles, warps, clusters, autotuning."""

from __future__ import annotations

import ast
import math
import re

from kopt.techniques import source as syntax
from kopt.techniques.detector import Detector, Seen, Subject

PERSISTENT_BLOCKS_PER_SM = 2
"""Most blocks per multiprocessor of a grid that counts as persistent."""


def persistent_kernel(subject: Subject) -> Seen:
    """Find a loop from the program's id in steps of the number of programs, on a grid of few blocks per SM."""
    for kernel in subject.source.kernels:
        if not _small_grid(subject, kernel.name):
            continue
        tainted = syntax.program_names(kernel)
        for loop in syntax.loops(kernel):
            if _strides_by_grid(loop, kernel, tainted, subject):
                return subject.source.line(loop)
    return None


def _small_grid(subject: Subject, name: str) -> bool:
    grids = [math.prod(launch.grid) for launch in subject.launches if launch.kernel == name]
    limit = PERSISTENT_BLOCKS_PER_SM * subject.device.sm_count
    return not grids or min(grids) <= limit


def _strides_by_grid(loop: ast.For | ast.While, kernel: ast.FunctionDef, tainted: set[str], subject: Subject) -> bool:
    if isinstance(loop, ast.While):
        return any(
            isinstance(node, ast.AugAssign)
            and syntax.names(node.target) & tainted
            and _grid_size(node.value, kernel, subject)
            for node in ast.walk(loop)
        )
    if syntax.called(loop.iter) not in ("range",) or not isinstance(loop.iter, ast.Call) or len(loop.iter.args) < 3:
        return False
    start, _, step = loop.iter.args[:3]
    return syntax.on_programs(start, tainted) and _grid_size(step, kernel, subject)


def _grid_size(node: ast.expr, kernel: ast.FunctionDef, subject: Subject) -> bool:
    """Return whether an expression is the number of programs: asked of Triton, named so, or equal to the grid."""
    if syntax.calls(node, "num_programs"):
        return True
    counted = {
        n for targets, value, _ in syntax.assignments(kernel) if syntax.calls(value, "num_programs") for n in targets
    }
    if syntax.names(node) & counted or re.search(
        r"(?i)\b(num_?(sms?|prog\w*|blocks|ctas)|n_?sms?|grid\w*)\b", _text(node)
    ):
        return True
    value = subject.constant(node)
    return value is not None and value in [math.prod(x.grid) for x in subject.launches if x.kernel == kernel.name]


def _text(node: ast.AST) -> str:
    return " ".join(sorted(syntax.names(node)))


def grid_swizzling(subject: Subject) -> Seen:
    """Find program ids regrouped: a remainder of a remainder, or a name with `group`; rows and columns do not count."""
    for kernel in subject.source.kernels:
        tainted = syntax.depends_on(kernel, syntax.program_names(kernel))
        for call in syntax.calls(kernel, "swizzle2d"):
            if syntax.on_programs(call, tainted):
                return subject.source.line(call)
        for _, value, statement in syntax.assignments(kernel):
            if any(_regroups(node, tainted) for node in ast.walk(value)):
                return subject.source.line(statement)
    return None


def _regroups(node: ast.AST, tainted: set[str]) -> bool:
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Mod | ast.FloorDiv):
        return False
    if not syntax.on_programs(node.left, tainted):
        return False
    nested = any(isinstance(part, ast.BinOp) and isinstance(part.op, ast.Mod) for part in ast.walk(node.left))
    return nested or bool(re.search(r"(?i)group|swizzle", _text(node)))


def warp_specialization(subject: Subject) -> Seen:
    """Find a request for warp specialisation, or registers moved between warps in the PTX."""
    for call in (node for node in subject.source.walk() if isinstance(node, ast.Call)):
        asked = syntax.keyword(call, "warp_specialize")
        if isinstance(asked, ast.Constant) and asked.value is True:
            return subject.source.line(call)
        if syntax.called(call) in ("async_task", "warp_specialize"):
            return subject.source.line(call)
    return subject.in_ptx(r"\bsetmaxnreg")


def thread_block_clusters(subject: Subject) -> Seen:
    """Find a launch of several blocks per cluster, or a cluster instruction in the PTX."""
    for launch in subject.launches:
        if launch.num_ctas > 1:
            return "launch", f"{launch.kernel}: num_ctas={launch.num_ctas}"
    return subject.in_ptx(r"(\bbarrier\.cluster|\bmapa\b|multicast::cluster|%cluster_ctarank|\.reqnctapercluster)")


def autotuned_config(subject: Subject) -> Seen:
    """Find an autotuner that chooses among several configurations."""
    for call in syntax.calls(subject.source.tree, "autotune"):
        configs = syntax.keyword(call, "configs") or (call.args[0] if call.args else None)
        listed = len(configs.elts) if isinstance(configs, ast.List | ast.Tuple) else _tried(subject)
        if configs is not None and listed != 1:
            return subject.source.line(call)
    return None


def _tried(subject: Subject) -> int:
    """Count the configurations that the build saw tried; 0 when there was no build."""
    trials = [launch for launch in subject.launches if launch.trial]
    return len({(launch.kernel, launch.constants, launch.num_warps, launch.num_stages) for launch in trials})


DETECTORS = (
    Detector("persistent_kernel", persistent_kernel),
    Detector("autotuned_config", autotuned_config, proves=True),
    Detector("warp_specialization", warp_specialization, proves=True),
    Detector("thread_block_clusters", thread_block_clusters, proves=True),
    Detector("grid_swizzling", grid_swizzling),
)
