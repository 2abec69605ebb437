"""Check the limits of a kernel: tile sizes that Triton accepts, registers and shared memory of the device."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import prod

import libcst as cst

from kopt.rewrite.host_values import host_value
from kopt.rewrite.source import syntax
from kopt.rewrite.source.module import Kernel, Launch, TritonModule
from kopt.rewrite.source.shapes import Shape, analyse, described_access
from kopt.rewrite.source.tuned_choices import Configuration, configurations
from kopt.rewrite.transformation import RewriteFacts

LARGEST_TILE = 1 << 20
"""Most elements of one tensor that Triton accepts."""
LONGEST_ROW = 32768
"""Most elements of a row that one program may hold in registers."""
TILE_PER_THREAD = 256
"""Elements of one value per thread beyond which registers surely spill."""
ACCUMULATED_PER_THREAD = 192
"""Most 32-bit elements per thread that live through a loop, of 255 registers."""

FLOAT_BYTES = {"fp8": 1, "bf16": 2, "fp16": 2, "fp32": 4, "fp64": 8}
"""Bytes of a floating-point number, by the type's name in the signature of a launch."""
FLOAT_TYPE = re.compile("|".join(FLOAT_BYTES))


def plausible(module: TritonModule, facts: RewriteFacts, parent: TritonModule | None = None) -> bool:
    """Return whether the kernels may build and run without spills; False for a large tile or too much shared memory.

    Each configuration of an autotuner is compiled, so each must fit, unless as many of the parent's do not fit: it was
    built, so that it fits better than is estimated here.

    Args:
        module: the kernels.
        facts: the device and the sizes of the inputs.
        parent: the module that they were made from, if any.
    """
    before = {k.name: misfits(k, parent, facts) for k in parent.kernels} if parent is not None else {}
    return all(misfits(kernel, module, facts) <= before.get(kernel.name, 0) for kernel in module.kernels)


def misfits(kernel: Kernel, module: TritonModule, facts: RewriteFacts) -> int:
    """Count the configurations of a kernel's launch that do not fit."""
    launch = module.only_launch(kernel)
    if launch is None:
        return 0
    return sum(not _fits(kernel, launch, module, facts, choice) for choice in configurations(kernel))


def fits_with(module: TritonModule, facts: RewriteFacts, values: Mapping[str, int]) -> bool:
    """Return whether all kernels fit with other values, each by kernel and name (`swiglu_kernel.BLOCK_M`)."""
    for kernel in module.kernels:
        launch = module.only_launch(kernel)
        mine = {n.removeprefix(f"{kernel.name}."): v for n, v in values.items() if n.startswith(f"{kernel.name}.")}
        if (
            launch is not None
            and not kernel.autotuned
            and not _fits(kernel, launch, module, facts, Configuration(mine, mine))
        ):
            return False
    return True


def footprint(module: TritonModule, facts: RewriteFacts) -> float:
    """Estimate what the kernels ask of shared memory and registers, in bytes, to compare one source with another."""
    total = 0.0
    for kernel in module.kernels:
        for launch in module.launches_of(kernel)[:1]:
            constants = dimensions(kernel, launch, module, facts)
            sizes = _sizes(kernel, constants)
            stages = option(launch, "num_stages", 3, module)
            total += _staged(kernel, sizes, constants, facts, stages) + 4 * max(sizes.values(), default=0)
    return total


def largest_tile(kernel: Kernel, launch: Launch, module: TritonModule, facts: RewriteFacts) -> int | None:
    """Count the elements of the largest value of a kernel, as far as sizes are known; None where none is."""
    return largest_value(kernel, dimensions(kernel, launch, module, facts))


def largest_value(kernel: Kernel, constants: Mapping[str, int]) -> int | None:
    """Count the elements of the largest value of a kernel with these constants; None where none is known."""
    return max(_sizes(kernel, constants).values(), default=None)


def size(shape: Shape, constants: Mapping[str, int]) -> int | None:
    """Count the elements of a shape; None when a dimension is not known."""
    if shape is None:
        return None
    factors = [factor for dimension in shape for factor in dimension.split(" * ")]
    values = [int(f) if f.isdigit() else constants.get(f, _part(f, constants)) for f in factors]
    return None if None in values else prod(v for v in values if v is not None)


def option(launch: Launch, name: str, default: int, module: TritonModule) -> int:
    """Read a launch option; the default when it is absent or not a literal."""
    passed = launch.options.get(name)
    value = syntax.integer(module.resolve(passed.value, launch.function)) if passed else None
    return value if value is not None else default


def dimensions(kernel: Kernel, launch: Launch, module: TritonModule, facts: RewriteFacts) -> dict[str, int]:
    """Look up block sizes by name; one made by `triton.next_power_of_2` is taken to hold the inputs' longest row.

    What the launching function computes is worked out from the numbers that the parent's launches passed.
    """
    constants = module.constants_of(kernel)
    longest = max((t.shape[-1] for w in facts.workloads for t in w.inputs if t.shape), default=1)
    for name, passed in launch.arguments.items():
        if name not in constants and "next_power_of_2" in syntax.code(passed):
            constants[name] = (
                host_value(passed.value, launch, module, facts) or 1 << (min(longest, LONGEST_ROW) - 1).bit_length()
            )
    for parameter in kernel.parameters:
        if parameter.constexpr and parameter.name not in constants and parameter.name in launch.arguments:
            known = host_value(launch.arguments[parameter.name].value, launch, module, facts)
            constants |= {} if known is None else {parameter.name: known}
    return constants


def _fits(
    kernel: Kernel, launch: Launch, module: TritonModule, facts: RewriteFacts, configuration: Configuration
) -> bool:
    constants = {**dimensions(kernel, launch, module, facts), **configuration.constants}
    threads = 32 * configuration.options.get("num_warps", option(launch, "num_warps", 4, module))
    sizes = _sizes(kernel, constants)
    largest = max(sizes.values(), default=0)
    if largest > LARGEST_TILE or largest > TILE_PER_THREAD * threads:
        return False
    carried = sum(sizes.get(value, 0) for value in _accumulators(kernel))
    launched = configuration.options.get("num_stages", option(launch, "num_stages", 3, module))
    return (
        carried <= ACCUMULATED_PER_THREAD * threads
        and _staged(kernel, sizes, constants, facts, launched) <= facts.device.shared_bytes_per_block
    )


def _sizes(kernel: Kernel, constants: Mapping[str, int]) -> dict[cst.CSTNode, int]:
    """Count the elements of every value in a kernel whose shape is known."""
    return {node: n for node, value in analyse(kernel).items() if (n := size(value.shape, constants)) is not None}


def _accumulators(kernel: Kernel) -> list[cst.BaseExpression]:
    """Find the fills that start accumulators, one for each name: a loop over tiles fills them again."""
    pairs = [pair for node in kernel.nodes if isinstance(node, cst.Assign) and (pair := syntax.assigned(node))]
    return list({name: value for name, value in pairs if syntax.called(value) in ("tl.zeros", "tl.full")}.values())


def _stages(loop: cst.For, launched: int) -> int:
    """Return the stages of the loops inside of a loop, or of itself where there are none, times the steps unrolled.

    Args:
        loop: the loop.
        launched: the stages of a loop that says nothing of them.
    """
    inner = [n for n in syntax.walk(loop.body) if isinstance(n, cst.For)] or [loop]
    return max(
        stages * _loop_option(each, "loop_unroll_factor", 1) if stages > 1 else 1
        for each in inner
        for stages in (_loop_option(each, "num_stages", launched),)
    )


def _loop_option(loop: cst.For, name: str, default: int) -> int:
    passed = syntax.keyword(loop.iter, name) if isinstance(loop.iter, cst.Call) else None
    value = syntax.integer(passed.value) if passed is not None else None
    return default if value is None else value


def _staged(kernel: Kernel, sizes: dict[cst.CSTNode, int], constants: Mapping[str, int], facts: RewriteFacts,
            launched: int) -> int:  # fmt: skip
    """Estimate the bytes of shared memory when every load of the loop with the largest tiles is staged.

    A product's tile that is stored inside of the loop goes through shared memory while loads are under way.  Stores by
    addresses share this memory, those by descriptors have some each.

    Args:
        kernel: the kernel.
        sizes: elements of its values.
        constants: its numbers by name.
        facts: facts of the parent and the device.
        launched: the launch's stages, which count where a loop feeds a product.
    """
    product, totals = bool(kernel.called("tl.dot")), [0]
    for loop in kernel.loops:
        stages = _stages(loop, launched if product else 1)
        if stages <= 1:
            continue
        nodes = syntax.walk(loop.body)
        loaded = sum(sizes.get(node, 0) for node in nodes
                     if syntax.called(node) == "tl.load" or described_access(node, "load"))  # fmt: skip
        addressed = [sizes.get(n.args[0].value, 0) for n in nodes
                     if isinstance(n, cst.Call) and syntax.called(n) == "tl.store" and n.args]  # fmt: skip
        described = [size(kernel.tiles.get(described_access(n, "store")), constants) or 0 for n in nodes]
        totals.append(loaded * stages + (max(addressed, default=0) + sum(described) if product else 0))
    return max(totals) * loaded_bytes(kernel, facts)


def loaded_bytes(kernel: Kernel, facts: RewriteFacts) -> int:
    """Return the bytes of one of the widest floating-point numbers that a kernel loads in its loops.

    A buffer may be narrower than all inputs, as where a reference converts them.  Where the parent's launches tell no
    type, the widest of the inputs counts.
    """
    types = {
        name: FLOAT_BYTES[found.group()] for launch in facts.launches if launch.kernel == kernel.name
        for name, kind in launch.signature if (found := FLOAT_TYPE.search(kind))
    }  # fmt: skip
    values, widths = analyse(kernel), list[int]()
    for node in (node for loop in kernel.loops for node in syntax.walk(loop.body)):
        if isinstance(node, cst.Call) and syntax.called(node) == "tl.load" and node.args:
            address = values.get(node.args[0].value)
            widths += [types[name] for name in address.deps & types.keys()] if address is not None else []
        elif described_access(node, "load") in types:
            widths.append(types[described_access(node, "load")])
    return max(widths, default=facts.item_bytes)


def _part(factor: str, constants: Mapping[str, int]) -> int | None:
    """Work out `(BLOCK // 2)`, a part of a known number; None for other texts."""
    found = re.fullmatch(r"\(?(\w+) // (\d+)\)?", factor)
    whole = constants.get(found.group(1)) if found is not None else None
    return whole // int(found.group(2)) if found is not None and whole is not None else None
