"""Load and store the tiles of a product by tensor descriptors (TMA) that the host makes.

One thread asks for a whole tile, so that no thread computes addresses and masks or holds them in registers.  The host
takes the described kernel where base, strides and sizes allow a descriptor, and the kernel as it was otherwise.

Two operands that lie side by side in one tile come by one descriptor, too: both matrices are the planes of a tensor
whose outer stride is the distance between them.  Plane 0 is the matrix with the lower address, so that the parts of the
product are exchanged where that is the second one.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from random import Random

import libcst as cst

from kopt.rewrite.effects import tensor_copies
from kopt.rewrite.limits import misfits
from kopt.rewrite.source import syntax
from kopt.rewrite.source.boxes import Box, Side, box
from kopt.rewrite.source.edit import Edits
from kopt.rewrite.source.module import Kernel, Launch, TritonModule, parse, unused
from kopt.rewrite.source.paired_boxes import PairedBox, paired_box
from kopt.rewrite.transformation import Change, RewriteFacts, Site, Transformation, change, define_before_grid

FIRST_ARCH = 90
"""Compute capability, times ten, of the first devices with a tensor memory accelerator."""
SUFFIX = "_described"
IMPORT = "from triton.tools.tensor_descriptor import TensorDescriptor"
HELPER = '''\
def describable(tensor, sizes, strides):
    """Whether a TMA descriptor can describe a matrix: base and rows on 16 bytes, contiguous columns, 32-bit indices."""
    item = tensor.element_size()
    return (
        tensor.data_ptr() % 16 == 0
        and strides[1] == 1
        and 0 < strides[0] * item < 2**40
        and strides[0] * item % 16 == 0
        and all(0 < size < 2**31 - 2**16 for size in sizes)
    )


'''
PAIR_HELPERS = '''\
def describable_pair(first, second, sizes, strides, other_strides):
    """Whether one TMA descriptor can describe two matrices as planes of a tensor, at their distance from each other."""
    apart = abs(second.data_ptr() - first.data_ptr())
    return (
        describable(first, sizes, strides)
        and describable(second, sizes, other_strides)
        and strides == other_strides
        and first.dtype == second.dtype
        and 0 < apart < 2**40
    )


def describe_pair(first, second, sizes, strides, block):
    """Describe two matrices as planes of a tensor; the one with the lower address is plane 0."""
    low, high = sorted((first, second), key=lambda matrix: matrix.data_ptr())
    apart = (high.data_ptr() - low.data_ptr()) // low.element_size()
    return TensorDescriptor(low, [2, *sizes], [apart, *strides], [2, *block])


'''
TRIVIAL = frozenset({"1"})


def _sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    if facts.device.arch < FIRST_ARCH:
        return ()
    sites = []
    for kernel in module.kernels:
        launch = module.only_launch(kernel)
        if launch is None or launch.grid is None or kernel.autotuned or not launch.call.args:
            continue
        alone = isinstance(launch.statement, cst.SimpleStatementLine) and len(launch.statement.body) == 1
        if not kernel.called("tl.dot") or not alone or not _called_alone(launch):
            continue
        calls = kernel.called("tl.load", "tl.store")
        found = [
            b for call in calls if (b := _described(kernel, launch, call) or _paired(module, kernel, launch, call))
        ]
        if found:
            sites.append(Site(partial(_describe, module, kernel, launch, tuple(found), facts)))
    return sites


def stand_ins(module: TritonModule) -> frozenset[str]:
    """Name the kernels that are launched only where the host cannot make descriptors."""
    found = set[str]()
    for launch in module.launches:
        for node in syntax.walk(launch.function):
            if isinstance(node, cst.If) and node.orelse is not None and _asks(node.test):
                found |= {launch.kernel} if any(n is launch.call for n in syntax.walk(node.orelse)) else set()
    return frozenset(found)


def _asks(test: cst.BaseExpression) -> bool:
    return any(syntax.called(n) in ("describable", "describable_pair") for n in syntax.walk(test))


def _called_alone(launch: Launch) -> bool:
    (small,) = launch.statement.body if isinstance(launch.statement, cst.SimpleStatementLine) else (None,)
    return isinstance(small, cst.Expr) and small.value is launch.call


def _described(kernel: Kernel, launch: Launch, call: cst.Call) -> Box | None:
    """Read an access as a box of a matrix with contiguous rows or columns, whose numbers the launch passes."""
    found = box(kernel, call)
    if found is None or _contiguous(found.sides) is None:
        return None
    if syntax.called(call) == "tl.store" and (_contiguous(found.sides) != 1 or not _expression(kernel, call)):
        return None
    return found if _passed(launch, (found.base,), found.sides) else None


def _paired(module: TritonModule, kernel: Kernel, launch: Launch, call: cst.Call) -> PairedBox | None:
    """Read a load as a box of a pair of matrices with contiguous columns, whose numbers the launch passes."""
    found = paired_box(module, kernel, call)
    if found is None or _contiguous(found.sides) != 0:
        return None
    return found if _passed(launch, (*found.bases, *found.others.values()), found.sides) else None


def _passed(launch: Launch, bases: Sequence[str], sides: Sequence[Side]) -> bool:
    """Return whether a launch passes what a descriptor needs, and the tensors by name."""
    wanted = set(bases)
    for side in sides:
        wanted |= syntax.names(cst.parse_expression(side.block)) | {side.size}
        wanted |= set() if side.stride.isdigit() else {side.stride}
    return wanted <= launch.arguments.keys() and isinstance(launch.arguments[bases[0]].value, cst.Name)


def _expression(kernel: Kernel, call: cst.Call) -> bool:
    """Return whether a store is a statement of its own."""
    return any(isinstance(n, cst.Expr) and n.value is call for n in kernel.nodes)


def _contiguous(sides: Sequence[Side]) -> int | None:
    """Return the axis without a stride; None where there are two or none."""
    axes = [axis for axis, side in enumerate(sides) if side.stride in TRIVIAL]
    return axes[0] if len(axes) == 1 else None


def _describe(
    module: TritonModule,
    kernel: Kernel,
    launch: Launch,
    boxes: Sequence[Box | PairedBox],
    facts: RewriteFacts,
    rng: Random,
) -> Change | None:
    """Describe loads and stores or loads alone; where stores too would take too much shared memory, loads alone."""
    loads = [b for b in boxes if syntax.called(b.call) == "tl.load"]
    stores = [b for b in boxes if b not in loads]
    kinds = (loads + stores, loads) if loads and rng.random() < 0.5 else (loads or stores,)
    changes = (_with_descriptors(module, kernel, launch, kind) for kind in kinds)
    return next((made for made in changes if made is not None and _fits(made, kernel, module, facts)), None)


def _fits(made: Change, kernel: Kernel, before: TritonModule, facts: RewriteFacts) -> bool:
    """Return whether the described kernel fits into shared memory and registers, or its kernel did not before."""
    after, whole = parse(made.source), parse(before.source)
    if after is None or whole is None:
        return False
    known = {each.name for each in whole.kernels}
    return all(
        misfits(each, after, facts) <= misfits(kernel, before, facts)
        for each in after.kernels
        if each.name not in known
    )


def _with_descriptors(
    module: TritonModule, kernel: Kernel, launch: Launch, chosen: Sequence[Box | PairedBox]
) -> Change | None:
    edits = module.edits()
    name = unused(re.sub(rf"({SUFFIX}(_\d+)?)?$", SUFFIX, kernel.name, count=1), syntax.names(module.tree))
    blocks = [n for b in chosen for side in b.sides for n in sorted(syntax.names(cst.parse_expression(side.block)))]
    values, literals = _named(edits, launch, dict.fromkeys(blocks))
    descriptors = _Descriptors(kernel, launch, values)
    texts: dict[cst.CSTNode, str] = {kernel.node.name: name}
    for each in chosen:
        texts |= descriptors.replacement(edits, each)
    last = kernel.parameters[-1].last
    defaults = " = None" if any(p.default is not None for p in kernel.parameters) else ""
    texts[last] = syntax.code(last) + "".join(f", {parameter}{defaults}" for parameter in descriptors.parameters)
    text = edits.moved([kernel.node.decorators[0], kernel.node], texts).strip("\n")
    edits.statements_after(kernel.node, f"\n\n{text}")
    _launch_described(edits, launch, name, descriptors, literals)
    helpers = HELPER if "def describable(" not in module.source else ""
    if descriptors.pairs and "def describable_pair(" not in module.source:
        helpers += PAIR_HELPERS
    if helpers:
        edits.statements_before(_first(launch.function), helpers.rstrip("\n") + "\n\n")
    if IMPORT not in module.source:
        edits.statements_after(_language_import(module), IMPORT)
    kinds = {syntax.called(each.call).removeprefix("tl.") for each in chosen}
    what = " and ".join(f"{kind}s" for kind in sorted(kinds))
    return change(
        edits,
        f"{len(chosen)} {what} of tiles in {kernel.name} by tensor descriptors where the host finds aligned rows: no "
        "addresses and masks in registers",
    )


class _Descriptors:
    """Descriptors that a kernel needs, each once, with their conditions on the host."""

    def __init__(self, kernel: Kernel, launch: Launch, values: dict[str, str]) -> None:
        self._kernel, self._launch, self._values = kernel, launch, values
        self._found: dict[tuple[str, ...], str] = {}
        self._exchanged: dict[tuple[str, str], str] = {}
        self.conditions: list[str] = []
        """Calls of the helper, each once."""
        self.arguments: list[str] = []
        """Keyword arguments of the launch."""

    @property
    def parameters(self) -> Sequence[str]:
        """Parameters of the described kernel beside those of the kernel as it was."""
        return (*self._found.values(), *(f"{name}: tl.constexpr" for name in self._exchanged.values()))

    @property
    def pairs(self) -> bool:
        """Whether a descriptor describes a pair of matrices."""
        return bool(self._exchanged)

    def replacement(self, edits: Edits, each: Box | PairedBox) -> dict[cst.CSTNode, str]:
        """Write a load or store by a descriptor, which is added if it is new."""
        if isinstance(each, PairedBox):
            return self._pair(edits, each)
        axis = _contiguous(each.sides)
        sides = each.sides if axis == 1 else each.sides[::-1]
        name = self._descriptor(each.base, sides)
        starts = ", ".join(side.start for side in sides)
        if syntax.called(each.call) == "tl.load":
            text = f"{name}.load([{starts}])"
            return {each.call: text if axis == 1 else f"tl.trans({text})"}
        value = syntax.argument(each.call, 1, "value")
        assert value is not None
        return {each.call: f"{name}.store([{starts}], {self._narrowed(value.value, each.base)})"}

    def _pair(self, edits: Edits, each: PairedBox) -> dict[cst.CSTNode, str]:
        """Write a load of a pair by one descriptor, and the exchange of the product's parts."""
        depth, width = each.sides
        first, second = (syntax.code(self._launch.arguments[base].value) for base in each.bases)
        exchanged = self._exchanged.get(each.bases)
        if exchanged is None:
            exchanged = unused(f"{each.bases[1].removesuffix('_ptr')}_first", self._kernel.names)
            self._exchanged[each.bases] = exchanged
            self.arguments.append(f"{exchanged}={second}.data_ptr() < {first}.data_ptr()")
        sizes = f"[{self._passed(width.size)}, {self._passed(depth.size)}]"
        strides, others = (
            f"[{self._passed(stride)}, 1]" for stride in (width.stride, each.others.get(width.stride, width.stride))
        )
        key = (*each.bases, width.block, depth.block, sizes, strides, others)
        if key not in self._found:
            short = "_".join(base.removesuffix("_ptr") for base in each.bases)
            made = unused(f"{short}_desc", self._kernel.names | frozenset(self._found.values()))
            self._found[key] = made
            condition = f"describable_pair({first}, {second}, {sizes}, {strides}, {others})"
            self.conditions += [condition] if condition not in self.conditions else []
            block = f"[{self._block(width.block)}, {self._block(depth.block)}]"
            self.arguments.append(f"{made}=describe_pair({first}, {second}, {sizes}, {strides}, {block})")
        tile = f"{self._found[key]}.load([0, {width.start}, {depth.start}])"
        left, right = each.halves
        white = edits.indentation(each.split)
        swap = f"\n{white}if {exchanged}:\n{white}    {left}, {right} = {right}, {left}"
        return {
            each.call: f"tl.trans(tl.reshape({tile}, (2 * {_operand(width.block)}, {depth.block})))",
            each.split.body[0]: syntax.code(each.split.body[0]) + swap,
        }

    def _narrowed(self, value: cst.BaseExpression, base: str) -> str:
        text = syntax.code(value)
        cast = f".to({base}.dtype.element_ty)"
        return text if text.endswith(cast) else f"{syntax.operand(value)}{cast}"

    def _descriptor(self, base: str, sides: Sequence[Side]) -> str:
        key = (base, *(text for side in sides for text in (side.block, side.size, side.stride)))
        if key not in self._found:
            short = base.removesuffix("_ptr")
            made = unused(f"{short}_desc", self._kernel.names | frozenset(self._found.values()))
            self._found[key] = made
            tensor = syntax.code(self._launch.arguments[base].value)
            sizes, strides = (f"[{', '.join(texts)}]" for texts in zip(
                *((self._passed(side.size), self._passed(side.stride)) for side in sides), strict=True))  # fmt: skip
            condition = f"describable({tensor}, {sizes}, {strides})"
            self.conditions += [condition] if condition not in self.conditions else []
            block = ", ".join(self._block(side.block) for side in sides)
            self.arguments.append(f"{made}=TensorDescriptor({tensor}, {sizes}, {strides}, [{block}])")
        return self._found[key]

    def _passed(self, name: str) -> str:
        return name if name.isdigit() else syntax.code(self._launch.arguments[name].value)

    def _block(self, text: str) -> str:
        """Write a length on the host, where its parameters have other names."""
        return re.sub(r"\b[A-Za-z_]\w*", lambda word: self._values[word.group()], text)


def _operand(text: str) -> str:
    return syntax.operand(cst.parse_expression(text))


def _named(edits: Edits, launch: Launch, parameters: Iterable[str]) -> tuple[dict[str, str], dict[cst.CSTNode, str]]:
    """Return what a launch passes for parameters, in which bare literals get names, and the names by literal."""
    values, literals = dict[str, str](), dict[cst.CSTNode, str]()
    for parameter in parameters:
        passed = launch.arguments[parameter].value
        values[parameter] = syntax.operand(passed)
        if isinstance(passed, cst.Integer):
            name = unused(parameter, syntax.names(launch.function))
            define_before_grid(edits, launch, f"{name} = {syntax.code(passed)}")
            values[parameter] = literals[passed] = name
    return values, literals


def _launch_described(
    edits: Edits, launch: Launch, name: str, descriptors: _Descriptors, literals: Mapping[cst.CSTNode, str]
) -> None:
    function = launch.call.func
    assert isinstance(function, cst.Subscript)
    last = launch.call.args[-1]
    texts = {node: text for node, text in literals.items() if node is not last.value}
    index = function.slice[0].slice
    if launch.grid is not None and isinstance(index, cst.Index) and isinstance(index.value, cst.Name):
        grid = syntax.code(launch.grid.display)
        texts[index.value] = f"lambda {launch.grid.meta}: {grid}" if launch.grid.meta else grid
    more = ", ".join([edits.text_of(last, literals), *descriptors.arguments])
    new = edits.moved([launch.statement], {function.value: name, last: more, **texts})
    old = edits.moved([launch.statement], literals)
    condition = " and ".join(descriptors.conditions)
    edits.replace_statement(
        launch.statement,
        f"if {condition}:\n{textwrap.indent(new, '    ')}\nelse:\n{textwrap.indent(old, '    ')}",
    )


def _first(function: cst.FunctionDef) -> cst.CSTNode:
    return function.decorators[0] if function.decorators else function


def _language_import(module: TritonModule) -> cst.CSTNode:
    """Return the line that imports Triton's language."""
    lines = [s for s in module.tree.body if isinstance(s, cst.SimpleStatementLine)]
    return next(s for s in lines if any("language" in syntax.code(small) for small in s.body))


TRANSFORMATIONS = (
    Transformation(
        "host_descriptors", "tiles of a product come and go by tensor descriptors that the host makes (TMA)",
        ("async_copy_tma", "software_pipelining"),
        ("tensor_cores_idle", "register_pressure", "instruction_overhead", "index_arithmetic", "shallow_pipeline"),
        _sites, 3.0, marks=("TensorDescriptor",), effect=tensor_copies,
    ),
)  # fmt: skip
