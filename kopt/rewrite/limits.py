"""What a kernel may not exceed: tile sizes that Triton takes, registers and shared memory that the device has."""

from __future__ import annotations

from math import prod

import libcst as cst

from kopt.rewrite.source import syntax
from kopt.rewrite.source.module import Kernel, Launch, TritonModule
from kopt.rewrite.source.shapes import Shape, analyse
from kopt.rewrite.source.tuned_choices import Configuration, configurations
from kopt.rewrite.transformation import RewriteFacts

LARGEST_TILE = 1 << 20
"""Elements of one tensor that Triton accepts."""
LONGEST_ROW = 32768
"""Elements of a row that one program may hold in registers."""
TILE_PER_THREAD = 256
"""Elements of one value per thread beyond which registers spill for sure."""
ACCUMULATED_PER_THREAD = 160
"""32-bit elements per thread that live through a loop, of 255 registers."""


def plausible(module: TritonModule, facts: RewriteFacts, parent: TritonModule | None = None) -> bool:
    """False when a kernel would surely not build or would spill: too large a tile, too much shared memory.

    Each configuration of an autotuner is compiled, so each must fit, unless as many of the parent's do not.
    """
    before = {k.name: misfits(k, parent, facts) for k in parent.kernels if k.autotuned} if parent is not None else {}
    return all(misfits(kernel, module, facts) <= before.get(kernel.name, 0) for kernel in module.kernels)


def misfits(kernel: Kernel, module: TritonModule, facts: RewriteFacts) -> int:
    """How many of the configurations that the kernel is launched with do not fit."""
    launch = module.only_launch(kernel)
    if launch is None:
        return 0
    return sum(not _fits(kernel, launch, module, facts, one) for one in configurations(kernel))


def footprint(module: TritonModule, facts: RewriteFacts) -> float:
    """What the kernels ask of shared memory and registers, in bytes; larger is heavier."""
    total = 0.0
    for kernel in module.kernels:
        for launch in module.launches_of(kernel)[:1]:
            known, constants = analyse(kernel), _dimensions(kernel, launch, module, facts)
            sizes = {node: n for node, value in known.items() if (n := size(value.shape, constants)) is not None}
            stages = _stages(kernel, option(launch, "num_stages", 3, module))
            total += _staged(kernel, sizes, facts.item_bytes, stages) + 4 * max(sizes.values(), default=0)
    return total


def size(shape: Shape, constants: dict[str, int]) -> int | None:
    """Elements of a shape, where every dimension is known."""
    if shape is None:
        return None
    values = [int(d) if d.isdigit() else constants.get(d) for d in shape]
    return None if None in values else prod(v for v in values if v is not None)


def option(launch: Launch, name: str, default: int, module: TritonModule) -> int:
    """Value of a launch option, the default when it is absent or not a literal."""
    passed = launch.options.get(name)
    value = syntax.integer(module.resolve(passed.value, launch.function)) if passed else None
    return value if value is not None else default


def _fits(
    kernel: Kernel, launch: Launch, module: TritonModule, facts: RewriteFacts, configuration: Configuration
) -> bool:
    constants = {**_dimensions(kernel, launch, module, facts), **configuration.constants}
    known = analyse(kernel)
    threads = 32 * configuration.options.get("num_warps", option(launch, "num_warps", 4, module))
    sizes = {node: n for node, value in known.items() if (n := size(value.shape, constants)) is not None}
    largest = max(sizes.values(), default=0)
    if largest > LARGEST_TILE or largest > TILE_PER_THREAD * threads:
        return False
    carried = sum(sizes.get(value, 0) for value in _accumulators(kernel))
    launched = configuration.options.get("num_stages", option(launch, "num_stages", 3, module))
    stages = _stages(kernel, launched)
    return (
        carried <= ACCUMULATED_PER_THREAD * threads
        and _staged(kernel, sizes, facts.item_bytes, stages) <= facts.device.shared_bytes_per_block
    )


def _dimensions(kernel: Kernel, launch: Launch, module: TritonModule, facts: RewriteFacts) -> dict[str, int]:
    """Block sizes by name; one made by `triton.next_power_of_2` is taken to hold the longest row of the inputs."""
    known = module.constants_of(kernel)
    longest = max((t.shape[-1] for w in facts.workloads for t in w.inputs if t.shape), default=1)
    for name, passed in launch.arguments.items():
        if name not in known and "next_power_of_2" in syntax.code(passed):
            known[name] = 1 << (min(longest, LONGEST_ROW) - 1).bit_length()
    return known


def _accumulators(kernel: Kernel) -> list[cst.BaseExpression]:
    pairs = [pair for node in kernel.nodes if isinstance(node, cst.Assign) and (pair := syntax.assigned(node))]
    return [value for _, value in pairs if syntax.called(value) in ("tl.zeros", "tl.full")]


def _stages(kernel: Kernel, launched: int) -> int:
    """Most stages of any loop: those of `tl.range`, those of the launch where the loop feeds a product."""
    values = [launched] if kernel.called("tl.dot") else []
    for call in kernel.called("tl.range"):
        passed = syntax.keyword(call, "num_stages")
        values += [v] if passed and (v := syntax.integer(passed.value)) else []
    return max(values, default=1)


def _staged(kernel: Kernel, sizes: dict[cst.CSTNode, int], item_bytes: int, stages: int) -> int:
    """Bytes of shared memory when every load of the fullest loop is staged."""
    loops = [
        sum(sizes.get(node, 0) for node in syntax.walk(loop.body) if syntax.called(node) == "tl.load")
        for loop in kernel.loops
    ]
    return max(loops, default=0) * item_bytes * stages if stages > 1 else 0
