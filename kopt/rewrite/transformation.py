"""Define a transformation: it finds its sites in a module, and each site changes the source."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

import libcst as cst

from kopt.model.base import Value
from kopt.model.build import Launch as BuiltLaunch
from kopt.model.device import Device
from kopt.model.problem import DTYPE_BYTES, WorkloadFacts
from kopt.rewrite.source import syntax
from kopt.rewrite.source.edit import Edits
from kopt.rewrite.source.module import Grid, Kernel, Launch, TritonModule, unused


class RewriteFacts(Value):
    """Facts of the parent beside its source."""

    launches: tuple[BuiltLaunch, ...] = ()
    """Launches of the parent on its main workloads; may be empty."""
    device: Device
    workloads: tuple[WorkloadFacts, ...] = ()
    """Inputs, parameters and output of every main workload."""

    @property
    def item_bytes(self) -> int:
        """Bytes of an element of the widest floating-point input; 2 when no input is known."""
        widths = [DTYPE_BYTES.get(t.dtype, 4) for w in self.workloads for t in w.inputs if "float" in t.dtype]
        return max(widths, default=2)


@dataclass(frozen=True)
class Change:
    """A changed source, and a description of the change."""

    source: str
    description: str
    parts: tuple[str, ...] = ()
    """Names of the transformations that the change is made of, where it takes several (`transformations.recipes`)."""


@dataclass(frozen=True, eq=False)
class Site:
    """A place of a module where a transformation applies."""

    apply: Callable[[Random], Change | None]
    """Make the change, with random choices from the draws; None when the change cannot be made here."""
    weight: float = 1.0
    """How much the place is worth changing, beside the other places."""


@dataclass(frozen=True)
class Transformation:
    """A change that keeps the meaning of a kernel for every shape."""

    name: str
    description: str
    """Description in one line."""
    techniques: tuple[str, ...]
    """Techniques of the taxonomy that the transformation introduces or tunes."""
    bottlenecks: tuple[str, ...]
    """Names of the bottlenecks that it works against."""
    sites: Callable[[TritonModule, RewriteFacts], Sequence[Site]]
    """Find the places where it applies."""
    weight: float = 1.0
    """Weight in the draw when neither technique nor bottleneck of the direction asks for the transformation."""
    marks: tuple[str, ...] = ()
    """Texts that it leaves in a source: a failed source that holds more of them than its parent is blamed on it."""
    lightens: bool = False
    """Whether it may reduce registers and shared memory after a build that exceeded them."""
    refines: bool = False
    """Whether it is small and leaves tiles and grid as they are, so that it goes with a kernel that is fast already."""
    effect: Callable[[str], float] | None = None
    """Measure of a kernel's PTX (`kopt.rewrite.effects`) that rises where the transformation took effect."""


def change(edits: Edits, description: str) -> Change | None:
    """Apply edits and describe them; None when the edits overlap."""
    text = edits.text()
    return None if text is None else Change(text, description)


def weight(kernel: Kernel) -> float:
    """Weigh a kernel by how much it is worth changing: one with a loop does most of the work."""
    return 1.0 if kernel.loops else 0.3


def largest_argument(launch: Launch, name: str, facts: RewriteFacts) -> int | None:
    """Look up the largest value of a number that the parent's launches pass, at run time or compile time."""
    values = [int(text) for built in facts.launches if built.kernel == launch.kernel
              for key, text in (*built.arguments, *built.constants) if key == name and text.isdigit()]  # fmt: skip
    return max(values, default=None)


def add_parameter(edits: Edits, kernel: Kernel, name: str, *, constexpr: bool = False, default: str = "0") -> None:
    """Append a parameter to a kernel, with a default value if a parameter before it has one."""
    last = kernel.parameters[-1]
    annotation = ": tl.constexpr" if constexpr else ""
    value = f" = {default}" if any(p.default is not None for p in kernel.parameters) else ""
    edits.after(last.last, f", {name}{annotation}{value}")


def add_arguments(edits: Edits, launch: Launch, *arguments: tuple[str, str]) -> None:
    """Append keyword arguments to a launch."""
    edits.after(launch.call.args[-1], "".join(f", {name}={text}" for name, text in arguments))


def define_before_grid(edits: Edits, launch: Launch, lines: str) -> None:
    """Insert statements into the launching function, before the launch and its grid."""
    edits.statements_before(launch.grid.statement if launch.grid else launch.statement, lines)


def name_literal(edits: Edits, launch: Launch, parameter: str) -> str:
    """Return the argument of a parameter as text; a bare literal first gets a name, so that it can be changed later."""
    passed = launch.arguments[parameter].value
    if not isinstance(passed, cst.Integer):
        return syntax.operand(passed)
    name = unused(parameter, syntax.names(launch.function))
    define_before_grid(edits, launch, f"{name} = {syntax.code(passed)}")
    edits.replace(passed, name)
    return name


def element_text(grid: Grid, axis: int, launch: Launch) -> str | None:
    """Return an axis of the grid as an expression of the launching function, or None when a tuner decides it."""
    return _without_meta(grid, axis, {name: syntax.operand(a.value) for name, a in launch.arguments.items()})


def named_axes(edits: Edits, launch: Launch, grid: Grid) -> list[str]:
    """Return the axes of a grid as expressions, in which bare literals of the launch get names first.

    Call it only where `element_text` finds a text for each axis.
    """
    wanted = [name for axis in range(len(grid.elements)) for name in _meta_names(grid, axis)]
    named = {name: name_literal(edits, launch, name) for name in dict.fromkeys(wanted)}
    return [_without_meta(grid, axis, named) or "" for axis in range(len(grid.elements))]


def _without_meta(grid: Grid, axis: int, named: Mapping[str, str]) -> str | None:
    text = syntax.code(grid.elements[axis])
    for name, node in _meta_names(grid, axis).items():
        if name in named:
            text = text.replace(syntax.code(node), named[name])
    return None if grid.meta and grid.meta in syntax.names(cst.parse_expression(text)) else text


def _meta_names(grid: Grid, axis: int) -> dict[str, cst.CSTNode]:
    """Find the arguments of the launch that an axis reads from the lambda's parameter, each with its node."""
    found: dict[str, cst.CSTNode] = {}
    for node in syntax.walk(grid.elements[axis]) if grid.meta else ():
        match = syntax.match(f"{grid.meta}[NAME_]", node)
        name = match["NAME_"] if match else None
        if isinstance(name, cst.SimpleString):
            found[str(name.evaluated_value)] = node
    return found
