"""Specialise sizes: make them compile-time constants, narrow the indices, and make a row one tile."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from random import Random

import libcst as cst

from kopt.rewrite.limits import LONGEST_ROW
from kopt.rewrite.source import syntax
from kopt.rewrite.source.divisibility import bounds
from kopt.rewrite.source.module import Constant, Kernel, Launch, Parameter, TritonModule, unused
from kopt.rewrite.source.shapes import analyse
from kopt.rewrite.transformation import Change, RewriteFacts, Site, Transformation, add_arguments, change, weight
from kopt.rewrite.transformations.tiles import blocks

PER_THREAD = (8, 16, 16, 32)
"""Elements of a whole row per thread to choose from."""
MOST_WARPS = 32
"""Most warps of a program."""


def _constant_sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    sites = []
    for kernel in module.kernels:
        launches = module.launches_of(kernel)
        if kernel.odd or kernel.autotuned or not launches or any(launch.opaque for launch in launches):
            continue
        sizes = [p for p in kernel.parameters if _is_size(kernel, p, launches, module, facts)]
        if sizes:
            sites.append(Site(partial(_make_constant, module, kernel, sizes), weight(kernel)))
    return sites


def _is_size(
    kernel: Kernel,
    parameter: Parameter,
    launches: Sequence[Launch],
    module: TritonModule,
    facts: RewriteFacts | None = None,
) -> bool:
    """Return whether a parameter is passed an integer of the tensors' shapes, and is used as a plain number.

    With facts, a parameter counts too that every launch of the parent passed an integer.
    """
    if parameter.constexpr or parameter.node.annotation is not None or parameter.default is not None:
        return False
    passed = [launch.arguments[parameter.name].value for launch in launches if parameter.name in launch.arguments]
    if not passed:
        return False
    uses = [n for n in kernel.nodes if isinstance(n, cst.Attribute) and syntax.code(n.value) == parameter.name]
    stored = any(
        isinstance(n, (cst.AugAssign, cst.AssignTarget)) and syntax.code(n.target) == parameter.name
        for n in kernel.nodes
    )
    if uses or stored:
        return False
    return all(_integral(p, module, launches[0]) for p in passed) or (
        facts is not None and _always_integral(kernel, parameter, facts)
    )


def _always_integral(kernel: Kernel, parameter: Parameter, facts: RewriteFacts) -> bool:
    """Return whether every launch of the parent passed an integer for a parameter."""
    texts = [text for launch in facts.launches if launch.kernel == kernel.name
             for name, text in launch.arguments if name == parameter.name]  # fmt: skip
    return bool(texts) and all(text.isdigit() for text in texts)


def _integral(value: cst.BaseExpression, module: TritonModule, launch: Launch) -> bool:
    if _shape_like(value):
        return True
    if isinstance(value, cst.Name):
        bound = module.resolve(value, launch.function)
        return (bound is not None and _shape_like(bound)) or _unpacked(value.value, launch)
    return False


def _shape_like(value: cst.BaseExpression) -> bool:
    text = syntax.code(value)
    if isinstance(value, cst.Integer):
        return True
    if isinstance(value, cst.BinaryOperation):
        return _shape_like(value.left) and _shape_like(value.right) and not isinstance(value.operator, cst.Divide)
    ends = isinstance(value, cst.Call) and isinstance(value.func, cst.Attribute)
    if ends and isinstance(value, cst.Call) and isinstance(value.func, cst.Attribute):
        return value.func.attr.value in ("stride", "numel", "size") and len(value.args) <= 1
    return isinstance(value, cst.Subscript) and ".shape" in text and ":" not in text


def _unpacked(name: str, launch: Launch) -> bool:
    """Return whether the launching function unpacks a name from a shape: `M, K = tensor.shape`."""
    for node in syntax.walk(launch.function.body):
        if isinstance(node, cst.Assign) and ".shape" in syntax.code(node.value) and len(node.targets) == 1:
            target = node.targets[0].target
            if isinstance(target, (cst.Tuple, cst.List)) and name in syntax.names(target):
                return "torch" not in syntax.code(node.value)
    return False


def _make_constant(module: TritonModule, kernel: Kernel, sizes: Sequence[Parameter], rng: Random) -> Change | None:
    chosen = sizes if rng.random() < 0.6 else (rng.choice(sizes),)
    edits = module.edits()
    for parameter in chosen:
        edits.after(parameter.node.name, ": tl.constexpr")
    names = ", ".join(p.name for p in chosen)
    return change(edits, f"{names} of {kernel.name} known at compile time: cheaper index arithmetic, known trip counts")


def _narrow_sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    sites = []
    for kernel in module.kernels:
        launch = module.only_launch(kernel)
        casts = [c for c in kernel.calls if _widens(c)]
        if launch is None or not casts or "INDEX" in kernel.names or not launch.call.args:
            continue
        pointers = _pointers(kernel)
        passed = [launch.arguments[p].value for p in pointers if p in launch.arguments]
        if passed and len(passed) == len(pointers) and all(isinstance(p, cst.Name) for p in passed):
            names = tuple(dict.fromkeys(syntax.code(p) for p in passed))
            sites.append(Site(partial(_narrow, module, kernel, launch, casts, names), weight(kernel)))
    return sites


def _widens(call: cst.Call) -> bool:
    return (
        isinstance(call.func, cst.Attribute) and call.func.attr.value == "to" and len(call.args) == 1
        and syntax.code(call.args[0].value) == "tl.int64"
    )  # fmt: skip


def _pointers(kernel: Kernel) -> list[str]:
    """Name the pointer parameters that loads, stores and atomics use."""
    abstract_of = analyse(kernel)
    used = {
        d for call in kernel.calls if syntax.called(call) in ("tl.load", "tl.store") or "atomic" in syntax.called(call)
        for a in call.args[:1] if a.value in abstract_of for d in abstract_of[a.value].deps
    }  # fmt: skip
    return [p.name for p in kernel.parameters if not p.constexpr and p.name in used and p.name.lower().endswith("ptr")]


def _narrow(
    module: TritonModule, kernel: Kernel, launch: Launch, casts: Sequence[cst.Call], tensors: Sequence[str], rng: Random
) -> Change | None:
    edits = module.edits()
    for cast in casts:
        edits.replace(cast.args[0].value, "INDEX")
    default = " = tl.int64" if any(p.default is not None for p in kernel.parameters) else ""
    edits.after(kernel.parameters[-1].last, f", INDEX: tl.constexpr{default}")
    small = f"all(t.is_contiguous() and t.numel() < 2**31 - 2**24 for t in ({', '.join(tensors)},))"
    variable = unused("INDEX", syntax.names(launch.function))
    edits.statements_before(launch.statement, f"{variable} = tl.int32 if {small} else tl.int64")
    add_arguments(edits, launch, ("INDEX", variable))
    return change(edits, f"32-bit offsets in {kernel.name} where the tensors are small enough for them")


def _whole_sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    """Find loops over a row in steps of a block that only loops use: one step can take the whole row."""
    sites = []
    for constant in blocks(module):
        kernel, launch = constant.kernel, constant.launch
        if (
            kernel.autotuned
            or kernel.called("tl.dot")
            or any("SPLIT" in n or n.startswith("EVEN_") for n in kernel.names)
        ):
            continue
        over = {b.size for b in bounds(module, kernel, launch) if b.block == constant.name}
        stepped = [loop for loop in kernel.loops if constant.name in syntax.names(loop.iter)]
        if len(over) != 1 or not stepped or _in_grid(constant, launch):
            continue
        (size,) = over
        longest = _longest(kernel, size, facts)
        if size in launch.arguments and longest is not None and constant.value < longest <= LONGEST_ROW:
            sites.append(Site(partial(_whole, module, constant, size, longest), weight(kernel)))
    return sites


def _in_grid(constant: Constant, launch: Launch) -> bool:
    """Return whether a block size decides the number of programs."""
    if launch.grid is None:
        return True
    quoted = {f"'{constant.name}'", f'"{constant.name}"'}
    used = [node for element in launch.grid.elements for node in syntax.walk(element)]
    read = any(isinstance(node, cst.SimpleString) and node.value in quoted for node in used)
    return read or (bool(constant.variable) and any(syntax.code(node) == constant.variable for node in used))


def _longest(kernel: Kernel, size: str, facts: RewriteFacts) -> int | None:
    """Look up the largest value of a size in the parent's launches, else the longest last dimension of an input."""
    texts = [t for launch in facts.launches if launch.kernel == kernel.name
             for n, t in (*launch.arguments, *launch.constants) if n == size and t.isdigit()]  # fmt: skip
    if texts:
        return max(map(int, texts))
    return max((t.shape[-1] for w in facts.workloads for t in w.inputs if t.shape), default=None)


def _whole(module: TritonModule, constant: Constant, size: str, longest: int, rng: Random) -> Change | None:
    kernel, launch = constant.kernel, constant.launch
    edits = module.edits()
    passed = launch.arguments[size].value
    row = f"triton.next_power_of_2({syntax.code(passed)})"
    edits.replace(launch.arguments[constant.name].value, f"{row} if {syntax.operand(passed)} <= {LONGEST_ROW} else "
                  f"{constant.value}")  # fmt: skip
    wanted = (1 << (longest - 1).bit_length()) // (32 * rng.choice(PER_THREAD))
    warps = str(min(max(wanted, 1), MOST_WARPS))
    if "num_warps" in launch.options:
        edits.replace(launch.options["num_warps"].value, warps)
    else:
        edits.after(launch.call.args[-1], f", num_warps={warps}")
    parameter = kernel.parameter(size)
    if (
        parameter
        and not parameter.constexpr
        and parameter.node.annotation is None
        and _is_size(kernel, parameter, [launch], module)
    ):
        edits.after(parameter.node.name, ": tl.constexpr")
    for call in (c for loop in kernel.loops for c in syntax.walk(loop) if syntax.called(c) == "tl.load"):
        hint = syntax.keyword(call, "eviction_policy") if isinstance(call, cst.Call) else None
        if hint is not None:
            edits.replace(hint.value, '""')
    return change(
        edits,
        f"one tile takes a whole row in {kernel.name}, with {warps} warps: what several passes read is loaded once",
    )


TRANSFORMATIONS = (
    Transformation(
        "constant_sizes", "sizes and strides become compile-time values", ("loop_unrolling", "vectorized_load"),
        ("index_arithmetic", "instruction_overhead"), _constant_sites, 1.5, refines=True,
    ),
    Transformation(
        "narrow_index", "64-bit offsets become 32-bit ones where every tensor is small enough", ("vectorized_load",),
        ("index_arithmetic", "register_pressure", "instruction_overhead"), _narrow_sites, 1.0,
        marks=("INDEX",), refines=True,
    ),
    Transformation(
        "whole_row", "a loop over a row becomes one tile of the row's length, so that the row is read once",
        ("register_tiling",), ("redundant_traffic",), _whole_sites, 3.0, marks=("triton.next_power_of_2",),
    ),
)  # fmt: skip
