"""Detect how a kernel computes: reductions, matrix products, tiles, precision, what follows the main loop."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from kopt.techniques import source as syntax
from kopt.techniques.detector import Detector, Seen, Subject, first_call

SMALL_TILE = 16
"""Most rows of a register tile."""
LONG_TILE = 64
"""Fewest columns of a register tile."""
LONG_K_TILE = 128
"""Fewest elements of the K tile of a matrix product that tiles registers."""


# Reductions across programs


def split_k_reduce(subject: Subject) -> Seen:
    """Find the launch of a kernel that reduces a buffer into which an earlier, different kernel reduced."""
    kernels = {kernel.name: kernel for kernel in subject.source.kernels}
    launched = [(_launched(call, kernels), call) for call in syntax.launch_calls(subject.source.tree)]
    calls = [(kernel, call) for kernel, call in launched if kernel is not None]
    for at, (first, call) in enumerate(calls):
        for second, later in calls[at + 1 :]:
            if second.name != first.name and _reduces(first) and _hands_over(call, later, second):
                return subject.source.line(later)
    return None


def _launched(call: ast.Call, kernels: dict[str, ast.FunctionDef]) -> ast.FunctionDef | None:
    return kernels.get(syntax.last_name(call.func.value)) if isinstance(call.func, ast.Subscript) else None


def _hands_over(call: ast.Call, later: ast.Call, second: ast.FunctionDef) -> bool:
    """Return whether both calls take a buffer that the second kernel loads and reduces."""
    given = {name for argument in call.args for name in syntax.names(argument)}
    given |= {name for k in call.keywords for name in syntax.names(k.value)}
    parameters = [argument.arg for argument in second.args.args]
    passed = [*zip(parameters, later.args, strict=False), *((k.arg or "", k.value) for k in later.keywords)]
    return any(
        isinstance(value, ast.Name) and value.id in given and _reduced_from(second, parameter)
        for parameter, value in passed
    )


def _reduces(kernel: ast.AST) -> bool:
    return bool(syntax.calls(kernel, "sum", "dot", "max", "min", "reduce", "dot_scaled")) or any(
        syntax.accumulators(loop) for loop in syntax.loops(kernel)
    )


def _reduced_from(kernel: ast.FunctionDef, parameter: str) -> bool:
    reached = syntax.depends_on(kernel, {parameter})
    loaded = {
        name
        for targets, value, _ in syntax.assignments(kernel)
        if any(syntax.names(call) & reached for call in syntax.calls(value, "load"))
        for name in targets
    }
    direct = any(syntax.names(c) & reached for s in syntax.calls(kernel, "sum", "max") for c in syntax.calls(s, "load"))
    summed = any(syntax.names(call) & loaded for call in syntax.calls(kernel, "sum", "max", "min", "reduce"))
    looped = any(syntax.calls(loop, "load") and syntax.accumulators(loop) & loaded for loop in syntax.loops(kernel))
    return direct or summed or looped


def atomic_reduction(subject: Subject) -> Seen:
    """Find an atomic operation, in the source or on global memory in the PTX."""
    names = (
        "atomic_add",
        "atomic_max",
        "atomic_min",
        "atomic_cas",
        "atomic_xchg",
        "atomic_and",
        "atomic_or",
        "atomic_xor",
    )
    return first_call(subject, *names) or subject.in_ptx(r"\b(atom|red)\.(\w+\.)*global")


# Matrix products and tiles


def tensor_cores(subject: Subject) -> Seen:
    """Find a matrix instruction in the PTX; without PTX, a `dot`."""
    if subject.ptx:
        return subject.in_ptx(r"\b(wgmma\.mma_async|mma\.sync|wmma\.mma|tcgen05\.mma)")
    return first_call(subject, "dot", "dot_scaled")


def shared_memory_tiling(subject: Subject) -> Seen:
    """Find operands of matrix products in shared memory; the scratch of a cross-warp reduction does not count."""
    if seen := first_call(subject, "allocate_shared_memory"):
        return seen
    if not subject.ptx:
        return first_call(subject, "dot")
    if subject.in_ptx(r"\b(mma\.sync|wmma\.mma)"):
        return subject.in_ptx(r"\bldmatrix") or subject.in_ptx(r"\bcp\.async\.c[ag]\.shared")
    return subject.in_ptx(r"\b(wgmma\.mma_async|tcgen05\.mma)")


def register_tiling(subject: Subject) -> Seen:
    """Find an accumulator that is small on one side and long on the other."""
    for kernel in subject.source.kernels:
        for call in syntax.calls(kernel, "zeros", "full"):
            shape = [subject.constant(node) for node in _shape(call)]
            sizes = [size for size in shape if size is not None]
            if len(sizes) == len(shape) and _small_and_long(sizes, kernel, subject):
                return subject.source.line(call)
    return None


def _shape(call: ast.Call) -> list[ast.expr]:
    shape = call.args[0] if call.args else syntax.keyword(call, "shape")
    return list(shape.elts) if isinstance(shape, ast.Tuple | ast.List) else []


def _small_and_long(sizes: list[int], kernel: ast.FunctionDef, subject: Subject) -> bool:
    """Return whether an output tile is small and its reduction tile long: in an accumulator, row sum, or dot's K."""
    longest_k = max((value for name, value in _constants(subject) if "k" in name.lower()), default=0)
    if syntax.calls(kernel, "dot"):
        return len(sizes) == 2 and 1 < min(sizes) <= 2 * SMALL_TILE and longest_k >= LONG_K_TILE
    if len(sizes) == 2:
        return 1 < min(sizes) <= SMALL_TILE and max(sizes) >= LONG_TILE
    row_sums = any(syntax.keyword(call, "axis") or len(call.args) > 1 for call in syntax.calls(kernel, "sum"))
    in_loop = any(syntax.calls(loop, "sum") for loop in syntax.loops(kernel))
    longest = max((value for _, value in _constants(subject)), default=0)
    return len(sizes) == 1 and 1 < sizes[0] <= SMALL_TILE and longest >= LONG_TILE and row_sums and in_loop


def _constants(subject: Subject) -> Iterator[tuple[str, int]]:
    for launch in subject.launches:
        for name, value in launch.constants:
            if value.isdigit():
                yield name, int(value)


def precision_split(subject: Subject) -> Seen:
    """Find the cast back to a narrow type after wide arithmetic over narrow operands."""
    if subject.launches and not any(re.search(r"\*k?(bf16|fp16|fp8\w*|i8)", kind) for kind in _argument_types(subject)):
        return None
    for kernel in subject.source.kernels:
        casts = [call for call in syntax.calls(kernel, "to", "cast") if call.args]
        wide = [c for c in casts if "float32" in _words(c)] or syntax.calls(kernel, "dot")
        wide = wide or [c for c in syntax.calls(kernel, "zeros", "full") if "float32" in _words(c)]
        back = [c for c in casts if not _words(c) & {"float32", "float64", "int32", "int64", "int1"}]
        if wide and back:
            return subject.source.line(back[-1])
        if wide and subject.ptx and syntax.calls(kernel, "store"):
            return subject.in_ptx(r"\bcvt\.rn\.(bf16|f16)")
    return None


def _argument_types(subject: Subject) -> list[str]:
    return [kind for launch in subject.launches for _, kind in launch.signature]


def _words(node: ast.AST) -> set[str]:
    """List the names and attributes in the arguments of a call."""
    arguments = [*node.args, *(k.value for k in node.keywords)] if isinstance(node, ast.Call) else []
    return {syntax.last_name(part) for argument in arguments for part in ast.walk(argument)}


def epilogue_fusion(subject: Subject) -> Seen:
    """Find arithmetic on an accumulator between its loop and the store that follows it."""
    for kernel in subject.source.kernels:
        for block in syntax.blocks(kernel):
            for at, statement in enumerate(block):
                if isinstance(statement, ast.For | ast.While) and (seen := _epilogue(statement, block[at + 1 :])):
                    return subject.source.line(seen)
    return None


def _epilogue(loop: ast.For | ast.While, rest: list[ast.stmt]) -> ast.AST | None:
    straight = ast.Module(body=[line for line in rest if not isinstance(line, ast.For | ast.While)], type_ignores=[])
    carried = syntax.depends_on(straight, _results(loop))
    stored = {
        name for call in syntax.calls(straight, "store") for argument in call.args for name in syntax.names(argument)
    }
    if not stored & carried:
        return None
    for node in ast.walk(straight):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div | ast.Add | ast.Sub | ast.Pow):
            if syntax.names(node) & carried:
                return node
        elif syntax.called(node) in _ACTIVATIONS and syntax.names(node) & carried:
            return node
    return None


_ACTIVATIONS = (
    "exp",
    "exp2",
    "log",
    "sigmoid",
    "tanh",
    "erf",
    "where",
    "maximum",
    "minimum",
    "rsqrt",
    "sqrt",
    "relu",
    "clamp",
)


def _results(loop: ast.For | ast.While) -> set[str]:
    """Name the values that a loop accumulates: what it carries but pointers and indices, which no load touches."""
    loaded = {n for targets, value, _ in syntax.assignments(loop) if syntax.calls(value, "load") for n in targets}
    computed = syntax.depends_on(loop, loaded) if loaded else set()
    direct = {
        n for targets, value, _ in syntax.assignments(loop) if syntax.calls(value, "load", "dot") for n in targets
    }
    return syntax.accumulators(loop) & (computed | direct)


DETECTORS = (
    Detector("split_k_reduce", split_k_reduce),
    Detector("tensor_cores", tensor_cores, proves=True),
    Detector("shared_memory_tiling", shared_memory_tiling),
    Detector("register_tiling", register_tiling),
    Detector("atomic_reduction", atomic_reduction, proves=True),
    Detector("precision_split", precision_split),
    Detector("epilogue_fusion", epilogue_fusion),
)
