"""Read the configurations that an autotuner tries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import libcst as cst

from kopt.rewrite.source import syntax
from kopt.rewrite.source.module import Kernel


@dataclass(frozen=True)
class Configuration:
    """The arguments that one configuration adds to a launch, as far as they are literals."""

    constants: Mapping[str, int]
    """Values of constexpr parameters, by name."""
    options: Mapping[str, int]
    """`num_warps`, `num_stages`."""


PLAIN = Configuration({}, {})
"""A launch as it is written."""


def configurations(kernel: Kernel) -> tuple[Configuration, ...]:
    """List the configurations that a kernel is launched with: its autotuner's, or `PLAIN` alone without an autotuner.

    Configurations that code makes, instead of a list display, cannot be read and count as `PLAIN`.
    """
    for decorator in kernel.node.decorators:
        call = decorator.decorator
        if isinstance(call, cst.Call) and syntax.called(call) == "triton.autotune":
            passed = syntax.argument(call, 0, "configs")
            written = syntax.expressions(passed.value) if passed else None
            return tuple(_configuration(node) for node in written or ()) or (PLAIN,)
    return (PLAIN,)


def _configuration(node: cst.BaseExpression) -> Configuration:
    if not isinstance(node, cst.Call) or syntax.called(node) != "triton.Config":
        return PLAIN
    given = syntax.argument(node, 0, "kwargs")
    constants = {}
    for element in given.value.elements if given and isinstance(given.value, cst.Dict) else ():
        key = element.key if isinstance(element, cst.DictElement) else None
        number = syntax.integer(element.value)
        if isinstance(key, cst.SimpleString) and number is not None:
            constants[str(key.evaluated_value)] = number
    passed = {name: syntax.keyword(node, name) for name in ("num_warps", "num_stages")}
    options = {name: syntax.integer(arg.value) for name, arg in passed.items() if arg is not None}
    return Configuration(constants, {name: number for name, number in options.items() if number is not None})
