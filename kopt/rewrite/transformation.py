"""What a transformation is: where it applies, and what it makes of a source there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import libcst as cst

from kopt.model.base import Value
from kopt.model.build import Launch as BuiltLaunch
from kopt.model.device import Device
from kopt.model.problem import DTYPE_BYTES, WorkloadFacts
from kopt.rewrite.source import syntax
from kopt.rewrite.source.edit import Edits
from kopt.rewrite.source.module import Grid, Kernel, Launch, TritonModule, unused


class RewriteFacts(Value):
    """What a rewrite may know of the parent beside its source."""

    launches: tuple[BuiltLaunch, ...] = ()
    """Launches of the parent on its main workloads; may be empty."""
    device: Device
    workloads: tuple[WorkloadFacts, ...] = ()
    """Inputs, parameters and output of every main workload."""

    @property
    def item_bytes(self) -> int:
        """Bytes of an element of the widest floating-point input; 2 when nothing is known."""
        widths = [DTYPE_BYTES.get(t.dtype, 4) for w in self.workloads for t in w.inputs if "float" in t.dtype]
        return max(widths, default=2)


@dataclass(frozen=True, eq=False)
class Site:
    """A place where a transformation applies, with the choices that it leaves open."""

    kernel: Kernel
    launch: Launch | None = None
    node: cst.CSTNode | None = None
    choices: tuple[Any, ...] = ()
    """What `apply` draws from; its meaning is the transformation's own."""
    weight: float = 1.0


@dataclass(frozen=True)
class Change:
    """A changed source and what was changed, in words."""

    source: str
    description: str


@dataclass(frozen=True)
class Transformation:
    """A kind of change that keeps the meaning of a kernel for every shape."""

    name: str
    description: str
    """One line."""
    techniques: tuple[str, ...]
    """Techniques of the taxonomy that it brings about or tunes."""
    bottlenecks: tuple[str, ...]
    """Short names of what it is good against."""
    sites: Callable[[TritonModule, RewriteFacts], Sequence[Site]]
    apply: Callable[[TritonModule, Site, Random], Change | None]
    weight: float = 1.0
    """How often it is worth trying when the direction does not speak for it."""


def change(edits: Edits, description: str) -> Change | None:
    """The edited source with its description, or None when the edits cannot be made together."""
    text = edits.text()
    return None if text is None else Change(text, description)


def weight(kernel: Kernel) -> float:
    """How much a kernel is worth changing: one that loads in a loop is the work, others are small."""
    return 1.0 if kernel.loops else 0.3


def add_parameter(edits: Edits, kernel: Kernel, name: str, *, constexpr: bool = False, default: str = "0") -> None:
    """Append a parameter to a kernel; it gets a default value where the ones before it have one."""
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
    """The argument of a parameter as text; a bare literal first gets a name, so that it can still be changed later."""
    passed = launch.arguments[parameter].value
    if not isinstance(passed, cst.Integer):
        return syntax.operand(passed)
    name = unused(parameter, syntax.names(launch.function))
    define_before_grid(edits, launch, f"{name} = {syntax.code(passed)}")
    edits.replace(passed, name)
    return name


def element_text(grid: Grid, axis: int, launch: Launch) -> str | None:
    """An axis of the grid as an expression of the launching function, or None when a tuner decides it."""
    text = syntax.code(grid.elements[axis])
    if not grid.meta:
        return text
    for node in syntax.walk(grid.elements[axis]):
        found = syntax.match(f"{grid.meta}[NAME_]", node)
        if found and isinstance(found["NAME_"], cst.Index) and isinstance(found["NAME_"].value, cst.SimpleString):
            passed = launch.arguments.get(str(found["NAME_"].value.evaluated_value))
            if passed is None:
                return None
            text = text.replace(syntax.code(node), syntax.operand(passed.value))
    return None if grid.meta in syntax.names(cst.parse_expression(text)) else text
