"""Define a detector of a technique, and what it looks at: source, PTX, launches, device."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import NamedTuple

from kopt.model.build import Launch
from kopt.model.device import Device
from kopt.techniques import source as syntax
from kopt.techniques.source import Source

Seen = tuple[str, str] | None
"""Where a technique was seen (`source:41`, `ptx`, `launch`) and what was seen there; None for an unused technique."""


class Subject(NamedTuple):
    """What a detector looks at: one kernel's module as it was written, built and launched."""

    source: Source
    ptx: tuple[str, ...]
    """PTX texts of the launches; empty when there was no build."""
    launches: tuple[Launch, ...]
    device: Device

    def in_ptx(self, pattern: str) -> Seen:
        """Find the first PTX instruction that matches a pattern."""
        for text in self.ptx:
            for line in text.splitlines():
                if re.search(pattern, line):
                    return "ptx", " ".join(line.split()).removesuffix(";")[:160]
        return None

    def constant(self, node: ast.AST | None) -> int | None:
        """Evaluate a literal, or a name that a launch or the module binds to an integer; else None."""
        if (literal := syntax.number(node)) is not None:
            return literal
        if not isinstance(node, ast.Name):
            return None
        for launch in self.launches:
            value = dict(launch.constants).get(node.id, "")
            if value.lstrip("-").isdigit():
                return int(value)
        return _module_constant(self.source, node.id)


def _module_constant(source: Source, name: str) -> int | None:
    for targets, value, _ in syntax.assignments(source.tree):
        if name in targets and (literal := syntax.number(value)) is not None:
            return literal
    return None


class Detector(NamedTuple):
    """How one technique of the taxonomy is seen in a kernel."""

    technique: str
    detect: Callable[[Subject], Seen]
    """Return where the kernel uses the technique, or None."""
    proves: bool = False
    """Whether an instruction, a launch or a call shows beyond doubt that a kernel uses the technique or does not.

    A language model is asked about the other techniques, which take judgement.
    """


def first_call(subject: Subject, *names: str) -> Seen:
    """Find the first call in a jitted function of anything with one of these names."""
    for kernel in subject.source.kernels:
        for call in syntax.calls(kernel, *names):
            return subject.source.line(call)
    return None
