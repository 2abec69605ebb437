"""Compute the same with fewer operations: formulas of activations written out in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from random import Random

import libcst as cst

from kopt.rewrite.effects import without_divisions, without_products
from kopt.rewrite.source import syntax
from kopt.rewrite.source.divisibility import definitions
from kopt.rewrite.source.module import Kernel, TritonModule
from kopt.rewrite.source.shapes import LOADED, Abstract, analyse
from kopt.rewrite.source.statements import names_stored, variables
from kopt.rewrite.transformation import Change, RewriteFacts, Site, Transformation, change

TANH = ("2.0 * tl.sigmoid(X_) - 1.0", "2 * tl.sigmoid(X_) - 1")
"""The hyperbolic tangent of half of X, as kernels write it."""
GATES = ("0.5 * GATE_ * (1.0 + TANH_)", "0.5 * GATE_ * (TANH_ + 1.0)", "GATE_ * 0.5 * (1.0 + TANH_)")
"""What is left of a gate: `GATE_ * sigmoid(X)`."""
CUBIC = ("C_ * (X_ + D_ * X_ * X_ * X_)", "C_ * (X_ + D_ * (X_ * X_ * X_))")
"""An odd polynomial, which needs a multiplication less as `X * (C + C * D * (X * X))`."""

FAST = {"libdevice.exp": "tl.exp", "libdevice.exp2": "tl.exp2"}
"""Exponentials of CUDA's library, and those that are one instruction, off by at most 2^-17 of the result."""
SHORT_TYPES = frozenset({"bfloat16", "float16", "int8", "uint8", "float8_e4m3fn", "float8_e5m2"})


def _gate_sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    """Find gates `0.5 * g * (1 + t)` in which t is a hyperbolic tangent written by a sigmoid, and used once."""
    sites = []
    for kernel in module.kernels:
        made = definitions(kernel)
        for node in kernel.nodes:
            for pattern in GATES:
                found = syntax.match(pattern, node) if isinstance(node, cst.BinaryOperation) else None
                tanh = found["TANH_"] if found is not None else None
                inner = _inside(made[tanh.value]) if isinstance(tanh, cst.Name) and tanh.value in made else None
                if found is None or inner is None or not isinstance(tanh, cst.Name):
                    continue
                if sum(n.value == tanh.value for s in kernel.body for n in variables(s)) == 2:
                    gate = found["GATE_"]
                    sites.append(
                        Site(partial(_shorten, module, kernel, node, made[tanh.value], gate, inner, tanh.value))
                    )
    return sites


def _inside(value: cst.BaseExpression) -> cst.CSTNode | None:
    for pattern in TANH:
        found = syntax.match(pattern, value)
        if found is not None:
            return found["X_"]
    return None


def _shorten(
    module: TritonModule,
    kernel: Kernel,
    gate: cst.CSTNode,
    tanh: cst.CSTNode,
    factor: cst.CSTNode,
    inner: cst.CSTNode,
    name: str,
    rng: Random,
) -> Change | None:
    """Write `0.5 * g * (1 + tanh(x / 2))` as `g * sigmoid(x)`."""
    edits = module.edits()
    sigmoid = kernel.fresh("sigmoid")
    targets = [n for n in kernel.nodes if isinstance(n, cst.AssignTarget) and syntax.code(n.target) == name]
    edits.replace(targets[0].target, sigmoid)
    edits.replace(tanh, f"tl.sigmoid({syntax.code(inner)})")
    edits.replace(gate, f"{syntax.operand(factor)} * {sigmoid}")
    return change(edits, f"the gate of {kernel.name} is a product with a sigmoid: half of its arithmetic falls away")


def _cubic_sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    """Find odd polynomials of third degree with literal coefficients."""
    sites = []
    for kernel in module.kernels:
        for node in kernel.nodes:
            for pattern in CUBIC:
                found = syntax.match(pattern, node) if isinstance(node, cst.BinaryOperation) else None
                if found is None:
                    continue
                first, second, x = found["C_"], found["D_"], found["X_"]
                if isinstance(first, cst.Float) and isinstance(second, cst.Float) and isinstance(x, cst.Name):
                    factors = first.evaluated_value, second.evaluated_value
                    sites.append(Site(partial(_factor, module, kernel, node, x.value, factors)))
    return sites


def _factor(
    module: TritonModule, kernel: Kernel, node: cst.CSTNode, x: str, factors: tuple[float, float], rng: Random
) -> Change | None:
    edits = module.edits()
    edits.replace(node, f"{x} * ({factors[0]!r} + {factors[0] * factors[1]!r} * ({x} * {x}))")
    return change(edits, f"the polynomial of {x} in {kernel.name} has a multiplication less")


def _division_sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    """Find divisions of a tile by what several of its elements share, in kernels that compute in 32 bits."""
    sites = []
    for kernel in module.kernels:
        if "tl.float32" not in {syntax.code(n) for n in kernel.nodes if isinstance(n, cst.Attribute)}:
            continue
        abstract_of = analyse(kernel)
        divisions = [n for n in kernel.nodes if isinstance(n, cst.BinaryOperation)
                     and isinstance(n.operator, cst.Divide)]  # fmt: skip
        shared = [n for n in divisions if _shares(kernel, abstract_of, n)]
        if shared:
            sites.append(Site(partial(_multiply, module, kernel, shared)))
    return sites


def _shares(kernel: Kernel, abstract_of: Mapping[cst.CSTNode, Abstract], division: cst.BinaryOperation) -> bool:
    """Return whether a divisor is computed from data, and its elements divide several each, at once or in a loop."""
    tile, divisor = (abstract_of.get(side) for side in (division.left, division.right))
    if tile is None or divisor is None or tile.shape is None or divisor.shape is None or LOADED not in divisor.deps:
        return False
    for loop in kernel.loops:
        inside = any(n is division for n in syntax.walk(loop.body))
        stored = names_stored(loop.body) | {syntax.code(loop.target)}
        if inside and tile.shape and not stored & syntax.names(division.right):
            return True
    padded = ("1",) * (len(tile.shape) - len(divisor.shape)) + divisor.shape
    return len(padded) == len(tile.shape) and any(
        few == "1" != many for few, many in zip(padded, tile.shape, strict=True)
    )


def _multiply(
    module: TritonModule, kernel: Kernel, divisions: Sequence[cst.BinaryOperation], rng: Random
) -> Change | None:
    edits = module.edits()
    for division in divisions:
        edits.replace(division.right, f"(1.0 / {syntax.operand(division.right)})")
        edits.replace(division.operator, " * ")
    return change(edits, f"{kernel.name} multiplies by a reciprocal that elements share: one division for all of them")


def _exponential_sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    """Find exponentials of CUDA's library in kernels whose results have no more than 16 bits."""
    outputs = [tensor.dtype for workload in facts.workloads for tensor in workload.outputs]
    if not outputs or not set(outputs) <= SHORT_TYPES:
        return ()
    sites = []
    for kernel in module.kernels:
        calls = kernel.called(*FAST)
        if calls:
            sites.append(Site(partial(_hasten, module, kernel, calls)))
    return sites


def _hasten(module: TritonModule, kernel: Kernel, calls: Sequence[cst.Call], rng: Random) -> Change | None:
    edits = module.edits()
    for call in calls:
        edits.replace(call.func, FAST[syntax.called(call)])
    return change(edits, f"exponentials of {kernel.name} by the device's instruction: its error is far below 16 bits")


TRANSFORMATIONS = (
    Transformation(
        "shared_reciprocal", "a tile is multiplied by a reciprocal that its elements share, in place of divisions", (),
        ("instruction_overhead", "redundant_traffic", "too_few_bytes_in_flight", "shallow_pipeline"),
        _division_sites, 1.5, effect=without_divisions, refines=True,
    ),
    Transformation(
        "short_gate", "0.5 * g * (1 + tanh) becomes a product with a sigmoid", ("epilogue_fusion",),
        ("instruction_overhead", "tensor_cores_idle", "register_pressure"), _gate_sites, 1.5, refines=True,
    ),
    Transformation(
        "short_polynomial", "an odd polynomial of third degree with a multiplication less", ("epilogue_fusion",),
        ("instruction_overhead", "tensor_cores_idle"), _cubic_sites, 0.7, refines=True,
    ),
    Transformation(
        "fast_exponential", "exponentials by the device's instruction, where results have at most 16 bits", (),
        ("instruction_overhead", "redundant_traffic", "too_few_bytes_in_flight"), _exponential_sites, 1.0,
        effect=without_products, refines=True,
    ),
)  # fmt: skip
