"""Split a reduction loop among several programs (split-K); a buffer or atomics combine the partial sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

import libcst as cst

from kopt.rewrite.source import syntax
from kopt.rewrite.source.edit import Edits
from kopt.rewrite.source.module import Constant, Grid, Kernel, Launch, TritonModule, unused
from kopt.rewrite.source.updates import additions, initial, is_float32_zero, uses
from kopt.rewrite.transformation import (
    Change,
    RewriteFacts,
    Site,
    Transformation,
    add_arguments,
    change,
    define_before_grid,
    name_literal,
)

ALLOCATIONS = frozenset({"torch.empty", "torch.empty_like"})
WIDTHS = (2, 3, 4, 6, 8)
"""Programs that share one loop."""
REDUCE = """\
@triton.jit
def {name}(partial_ptr, out_ptr, numel, SPLIT_K: tl.constexpr, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < numel
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for split in tl.static_range(SPLIT_K):
        total += tl.load(partial_ptr + split * numel + offsets, mask=mask, other=0.0)
    tl.store(out_ptr + offsets, total.to(out_ptr.dtype.element_ty), mask=mask)


"""


@dataclass(frozen=True, eq=False)
class Reduction:
    """A kernel that sums over one loop, and stores a linear function of the sum once."""

    grid: Grid
    """Grid of the kernel's only launch."""
    loop: cst.For
    bounds: tuple[cst.BaseExpression, cst.BaseExpression, cst.BaseExpression]
    """Start, stop and step; the start is the literal 0."""
    store: cst.Call
    narrowed: tuple[cst.Call, ...]
    """Casts between the sum and the store."""
    output: str
    """The pointer parameter that is stored to."""
    variable: str
    """Name of the output tensor at the launch."""


def reduction(module: TritonModule, kernel: Kernel, launch: Launch, grid: Grid) -> Reduction | None:
    """Read a kernel as a sum over one loop; None where that cannot be shown."""
    loops = [s for s in kernel.body if isinstance(s, cst.For)]
    stores = kernel.called("tl.store")
    if len(loops) != 1 or len(stores) != 1 or any(isinstance(n, (cst.While, cst.If, cst.Return)) for n in kernel.nodes):
        return None
    bounds = _bounds(loops[0])
    chain = _linear(kernel, loops[0], stores[0]) if _only_adds(kernel, loops[0]) else None
    output = syntax.argument(stores[0], 0, "pointer")
    if bounds is None or chain is None or output is None or kernel.called("tl.num_programs"):
        return None
    parameter = _base(kernel, output.value)
    passed = launch.arguments.get(parameter)
    if passed is None or not isinstance(passed.value, cst.Name) or uses(kernel.node.body, parameter) > 2:
        return None
    allocated = module.resolve(passed.value, launch.function)
    if allocated is None or syntax.called(allocated) not in ALLOCATIONS:
        return None
    return Reduction(grid, loops[0], bounds, stores[0], chain, parameter, passed.value.value)


def _bounds(loop: cst.For) -> tuple[cst.BaseExpression, cst.BaseExpression, cst.BaseExpression] | None:
    if not isinstance(loop.iter, cst.Call) or syntax.called(loop.iter) not in ("range", "tl.range"):
        return None
    plain = [a.value for a in loop.iter.args if a.keyword is None]
    if len(plain) != 3 or syntax.code(plain[0]) != "0" or not isinstance(plain[2], (cst.Name, cst.Integer)):
        return None
    return plain[0], plain[1], plain[2]


def _only_adds(kernel: Kernel, loop: cst.For) -> bool:
    """Return whether a loop carries one name, from zero, by one addition, and no other name of it is used outside."""
    adds = additions(loop)
    stored = {p[0] for n in syntax.walk(loop.body) if isinstance(n, cst.Assign) and (p := syntax.assigned(n))}
    stored |= {n.target.value for n in syntax.walk(loop.body)
               if isinstance(n, cst.AugAssign) and isinstance(n.target, cst.Name)}  # fmt: skip
    if len(adds) != 1 or any(isinstance(n, (cst.For, cst.While)) for n in syntax.walk(loop.body)):
        return False
    ((name, made),) = adds.items()
    line = initial(kernel, name, loop)
    pair = syntax.assigned(line) if line is not None else None
    outside = [s for s in kernel.body if s is not loop]
    if len(made) != 1 or pair is None or not is_float32_zero(pair[1]):
        return False
    return not any(uses(s, temporary) for temporary in stored - {name} for s in outside)


def _linear(kernel: Kernel, loop: cst.For, store: cst.Call) -> tuple[cst.Call, ...] | None:
    """Find the casts on the way from the sum to the store; None when anything but sums and casts is on it."""
    (name,) = additions(loop)
    casts: list[cst.Call] = []
    value = syntax.argument(store, 1, "value")
    node: cst.CSTNode | None = value.value if value else None
    after = list(kernel.body)[list(kernel.body).index(loop) + 1 :]
    made = {p[0]: p[1] for s in after if (p := syntax.assigned(s))}
    for _ in range(8):
        if isinstance(node, cst.Name):
            if node.value == name and node.value not in made:
                return tuple(casts)
            node = made.pop(node.value, None)
        elif isinstance(node, cst.Call) and syntax.called(node) == "tl.sum":
            node = node.args[0].value
        elif isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute) and node.func.attr.value == "to":
            casts.append(node)
            node = node.func.value
        else:
            return None
    return None


def _base(kernel: Kernel, pointer: cst.BaseExpression) -> str:
    """Name the parameter at the left end of pointer arithmetic, or return the empty string."""
    while isinstance(pointer, cst.BinaryOperation) and isinstance(pointer.operator, cst.Add):
        pointer = pointer.left
    name = pointer.value if isinstance(pointer, cst.Name) else ""
    return name if kernel.parameter(name) else ""


Split = Callable[[TritonModule, Kernel, Launch, Reduction, Random], Change | None]
"""A way to split a kernel's loop."""


def _sites(split: Split, module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    sites = []
    for kernel in module.kernels:
        launch = module.only_launch(kernel)
        if launch is None or launch.grid is None or len(launch.grid.elements) > 2 or kernel.autotuned:
            continue
        if "SPLIT_K" not in kernel.names and (sums := reduction(module, kernel, launch, launch.grid)):
            sites.append(Site(partial(split, module, kernel, launch, sums)))
    return sites


def _split(module: TritonModule, kernel: Kernel, launch: Launch, sums: Reduction, rng: Random) -> Change | None:
    width = rng.choice(WIDTHS)
    taken = syntax.names(module.tree) | {"triton", "torch"}
    reduce = unused(f"{kernel.name}_split_reduce", taken)
    buffer = unused(f"{sums.variable}_partial", taken)
    edits = module.edits()
    _split_loop(edits, kernel, launch, sums)
    pointer = syntax.argument(sums.store, 0, "pointer")
    assert pointer is not None
    edits.replace(pointer.value, f"{syntax.code(pointer.value)} + split.to(tl.int64) * split_stride")
    edits.after(kernel.parameters[-1].last, _parameters(kernel, "split_stride"))
    _launch_split(edits, launch, sums.grid, width)
    out = sums.variable
    edits.statements_before(launch.statement, f"{buffer} = torch.empty((SPLIT_K, {out}.numel()), dtype=torch.float32, "
                            f"device={out}.device)")  # fmt: skip
    edits.replace(launch.arguments[sums.output].value, buffer)
    add_arguments(edits, launch, ("split_stride", f"{out}.numel()"), ("SPLIT_K", "SPLIT_K"))
    edits.statements_after(launch.statement, f"{reduce}[(triton.cdiv({out}.numel(), 256),)]({buffer}, {out}, "
                           f"{out}.numel(), SPLIT_K=SPLIT_K, BLOCK=256)")  # fmt: skip
    edits.statements_before(_first(launch.function), REDUCE.format(name=reduce).rstrip("\n") + "\n\n")
    return change(
        edits, f"the loop of {kernel.name} is split among {width} programs, with a kernel that adds their parts"
    )


def _split_atomic(module: TritonModule, kernel: Kernel, launch: Launch, sums: Reduction, rng: Random) -> Change | None:
    width = rng.choice(WIDTHS)
    total = unused(f"{sums.variable}_total", syntax.names(module.tree))
    edits = module.edits()
    _split_loop(edits, kernel, launch, sums)
    kept = [a for a in sums.store.args if a.keyword is None or a.keyword.value == "mask"]
    for passed in sums.store.args:
        if passed not in kept:
            return None
    edits.replace(sums.store.func, "tl.atomic_add")
    edits.after(kernel.parameters[-1].last, _parameters(kernel, ""))
    _launch_split(edits, launch, sums.grid, width)
    out = sums.variable
    edits.statements_before(launch.statement, f"{total} = torch.zeros({out}.shape, dtype=torch.float32, "
                            f"device={out}.device)")  # fmt: skip
    edits.replace(launch.arguments[sums.output].value, total)
    add_arguments(edits, launch, ("SPLIT_K", "SPLIT_K"))
    edits.statements_after(launch.statement, f"{out} = {total}.to({out}.dtype)")
    return change(edits, f"the loop of {kernel.name} is split among {width} programs that add their parts by atomics")


def _split_loop(edits: Edits, kernel: Kernel, launch: Launch, sums: Reduction) -> None:
    """Give each program its part of the loop.

    A part without a step is `range(stop, stop)`: Triton unrolls a loop wrongly whose stop lies before its start.
    """
    axis = len(sums.grid.elements)
    start, stop, step = sums.bounds
    stop_text, step_text = syntax.code(stop), syntax.code(step)
    steps = f"tl.cdiv(tl.cdiv({stop_text}, {step_text}), SPLIT_K)"
    lines = (
        f"split = tl.program_id({axis})\n"
        f"split_start = tl.minimum({stop_text}, split * {steps} * {step_text})\n"
        f"split_stop = tl.minimum({stop_text}, (split + 1) * {steps} * {step_text})"
    )
    edits.statements_before(sums.loop, lines)
    if step_text in launch.arguments:
        name_literal(edits, launch, step_text)
    edits.replace(start, "split_start")
    edits.replace(stop, "split_stop")
    for cast in sums.narrowed:
        assert isinstance(cast.func, cst.Attribute)
        edits.replace(cast, syntax.operand(cast.func.value))


def _launch_split(edits: Edits, launch: Launch, grid: Grid, width: int) -> None:
    define_before_grid(edits, launch, f"SPLIT_K = {width}")
    edits.after(grid.elements[-1], ", SPLIT_K")


def _parameters(kernel: Kernel, stride: str) -> str:
    default = any(p.default is not None for p in kernel.parameters)
    first = f", {stride}" + (" = 0" if default else "") if stride else ""
    return f"{first}, SPLIT_K: tl.constexpr" + (" = 1" if default else "")


def _first(function: cst.FunctionDef) -> cst.CSTNode:
    return function.decorators[0] if function.decorators else function


def split_widths(module: TritonModule) -> list[Constant]:
    """Find the constants that say among how many programs a loop is split."""
    return [
        c
        for c in module.constants
        if c.name == "SPLIT_K" and c.variable and not c.kernel.name.endswith("_split_reduce")
    ]


def _width_sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    return [Site(partial(_rewiden, module, constant)) for constant in split_widths(module)]


def _rewiden(module: TritonModule, constant: Constant, rng: Random) -> Change | None:
    value = rng.choice([w for w in WIDTHS if w != constant.value])
    edits = module.edits()
    edits.replace(constant.literal, str(value))
    kernel = constant.kernel.name
    return change(edits, f"the loop of {kernel} is split among {value} programs instead of {constant.value}")


TRANSFORMATIONS = (
    Transformation(
        "split_k", "a reduction loop is shared by several programs; a second kernel adds their partial sums",
        ("split_k_reduce",), ("too_few_programs", "tail_wave"),
        partial(_sites, _split), 1.5, marks=("_split_reduce",),
    ),
    Transformation(
        "atomic_split_k", "a reduction loop is shared by several programs, whose partial sums meet by atomic additions",
        ("atomic_reduction",), ("too_few_programs", "launch_overhead"),
        partial(_sites, _split_atomic), 0.7, marks=("tl.atomic_add",),
    ),
    Transformation(
        "split_width", "another number of programs for a loop that is split already",
        ("split_k_reduce", "atomic_reduction"), ("too_few_programs", "tail_wave", "untuned_configuration"),
        _width_sites, 0.8,
    ),
)  # fmt: skip
