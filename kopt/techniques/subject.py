"""What a detector of a technique looks at: source, PTX, launches, device."""

from __future__ import annotations

import ast
import re
from typing import NamedTuple

from kopt.model.build import Launch
from kopt.model.device import Device
from kopt.techniques import source as syntax
from kopt.techniques.source import Source

Seen = tuple[str, str] | None
"""Where it was seen (`source:41`, `ptx`, `launch`) and what was seen there."""


class Subject(NamedTuple):
    """What a detector looks at."""

    source: Source
    ptx: tuple[str, ...]
    launches: tuple[Launch, ...]
    device: Device

    def in_ptx(self, pattern: str) -> Seen:
        """The first PTX instruction that the pattern finds."""
        for text in self.ptx:
            for line in text.splitlines():
                if re.search(pattern, line):
                    return "ptx", " ".join(line.split()).removesuffix(";")[:160]
        return None

    def constant(self, node: ast.AST | None) -> int | None:
        """Value of a literal, or of a compile-time argument or module constant of that name."""
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
        if name in targets and (found := syntax.number(value)) is not None:
            return found
    return None


def first_call(subject: Subject, *names: str) -> Seen:
    """The first call in a jitted function of anything with one of these names."""
    for kernel in subject.source.kernels:
        for call in syntax.calls(kernel, *names):
            return subject.source.line(call)
    return None
