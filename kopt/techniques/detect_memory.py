"""Detect how a kernel loads and stores: pipelines, vectors, masks, asynchronous copies, unrolled loops."""

from __future__ import annotations

import ast

from kopt.techniques import source as syntax
from kopt.techniques.detector import Detector, Seen, Subject, first_call


def software_pipelining(subject: Subject) -> Seen:
    """Find copies that are waited for later than they are issued, or loops of loads with several stages."""
    if seen := subject.in_ptx(r"\bcp\.async\.wait_group\s+[1-9]"):
        return seen
    if subject.in_ptx(r"\bmbarrier\.try_wait") and any(launch.num_stages > 1 for launch in subject.launches):
        return subject.in_ptx(r"\bcp\.async\.bulk\.tensor.*shared::\w+\.global")
    staged = [call for kernel in subject.source.kernels for call in syntax.calls(kernel, "range")]
    if not subject.ptx:
        staged += [*syntax.launch_calls(subject.source.tree), *syntax.calls(subject.source.tree, "Config")]
    return _first_staged(subject, staged)


def _first_staged(subject: Subject, staged: list[ast.Call]) -> Seen:
    if not any(syntax.calls(loop, "load") for kernel in subject.source.kernels for loop in syntax.loops(kernel)):
        return None
    for call in staged:
        stages = subject.constant(syntax.keyword(call, "num_stages"))
        if stages is not None and stages >= 2:
            return subject.source.line(call)
    return None


def swizzled_load(subject: Subject) -> Seen:
    """Find an XOR of indices or a swizzled layout, other than of program ids."""
    for kernel in subject.source.kernels:
        for node in ast.walk(kernel):
            if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.BitXor):
                return subject.source.line(node)
        tainted = syntax.depends_on(kernel, syntax.program_names(kernel))
        for call in syntax.calls(kernel, "swizzle2d", "SwizzledSharedLayout", "NVMMASharedLayout"):
            if not syntax.on_programs(call, tainted):
                return subject.source.line(call)
    return None


def vectorized_load(subject: Subject) -> Seen:
    """Find an access of several words per thread in the PTX; without PTX, an alignment hint."""
    if subject.ptx:
        return subject.in_ptx(r"\b(ld|st)\.global\S*\.(v[248]\.|b128)") or subject.in_ptx(
            r"\bcp\.async\.c[ag]\.shared\.global.*,\s*(0x10|16)\b"
        )
    return first_call(subject, "max_contiguous", "multiple_of")


def async_copy_tma(subject: Subject) -> Seen:
    """Find an asynchronous copy in the PTX; without PTX, a tensor descriptor."""
    if subject.ptx:
        return subject.in_ptx(r"\bcp\.async\.bulk\.tensor") or subject.in_ptx(r"\bcp\.async\.c[ag]\.")
    return first_call(subject, "make_tensor_descriptor", "_experimental_descriptor_load")


def masked_access(subject: Subject) -> Seen:
    """Find a load or store with a mask or a boundary check."""
    for kernel in subject.source.kernels:
        for call in syntax.calls(kernel, "load", "store"):
            mask = syntax.keyword(call, "mask")
            bounds = syntax.keyword(call, "boundary_check")
            positional = len(call.args) > (2 if syntax.called(call) == "store" else 1)
            if _given(mask) or _given(bounds) or (positional and _is_tl(call)):
                return subject.source.line(call)
    return None


def _given(node: ast.expr | None) -> bool:
    empty = isinstance(node, ast.Tuple | ast.List) and not node.elts
    return node is not None and not (isinstance(node, ast.Constant) and node.value is None) and not empty


def _is_tl(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name)


def loop_unrolling(subject: Subject) -> Seen:
    """Find a loop that the source asks to unroll."""
    if seen := first_call(subject, "static_range"):
        return seen
    for kernel in subject.source.kernels:
        for call in syntax.calls(kernel, "range"):
            factor = subject.constant(syntax.keyword(call, "loop_unroll_factor"))
            if factor is not None and factor > 1:
                return subject.source.line(call)
    return None


DETECTORS = (
    Detector("software_pipelining", software_pipelining, proves=True),
    Detector("swizzled_load", swizzled_load),
    Detector("vectorized_load", vectorized_load, proves=True),
    Detector("masked_access", masked_access, proves=True),
    Detector("loop_unrolling", loop_unrolling),
    Detector("async_copy_tma", async_copy_tma, proves=True),
)
