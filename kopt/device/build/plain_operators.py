"""Have operators that a candidate registers with torch be the plain functions that they are when nothing is compiled.

`torch.library.custom_op` and the like exist for `torch.compile`.  Called through torch's dispatcher such an operator
would look like a computation of torch's own, and its launches would not be seen on fake tensors.  `Any`: an operator
takes and returns anything.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch

Function = Callable[..., Any]


class PlainOperator:
    """A function, with the methods by which torch's operators are told more about themselves."""

    def __init__(self, name: str, function: Function) -> None:
        self.__name__ = name.rpartition("::")[2]
        self.__doc__ = function.__doc__
        self.default = self
        self._function = function

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Call the function."""
        return self._function(*args, **named)

    def register_kernel(self, device_types: Any, function: Function | None = None) -> Any:
        """Take a function as the operator's on some devices."""

        def take(function: Function) -> Function:
            devices = [device_types] if isinstance(device_types, str) else device_types
            if devices is None or "cuda" in devices:
                self._function = function
            return function

        return take if function is None else take(function)

    def register_fake(self, function: Function, **_: Any) -> Function:
        """Return the function: shapes are not asked for."""
        return function

    def register_autograd(self, backward: Function, **_: Any) -> None:
        """Do nothing: gradients are not asked for."""

    register_vmap = register_fake


def install() -> None:
    """Replace the functions of torch that register operators, or hide functions from its compiler, in this process."""
    operators: dict[str, PlainOperator] = {}

    def custom_op(name: str, function: Function | None = None, /, **_: Any) -> Any:
        def made(function: Function) -> PlainOperator:
            operators[name] = operator = PlainOperator(name, function)
            namespace, _, own = name.partition("::")
            if own.isidentifier() and not hasattr(getattr(torch.ops, namespace), own):
                setattr(getattr(torch.ops, namespace), own, operator)
            return operator

        return made if function is None else made(function)

    def register_kernel(operator: Any, device_types: Any, function: Function | None = None, /, **_: Any) -> Any:
        found = operators.get(operator, operator)
        return found.register_kernel(device_types, function)

    def told(operator: Any, function: Function | None = None, /, **_: Any) -> Any:
        return unchanged if function is None else function

    replaced = {
        "custom_op": custom_op, "triton_op": custom_op, "wrap_triton": unchanged, "register_kernel": register_kernel,
        "register_fake": told, "register_autograd": told, "impl_abstract": told,
    }  # fmt: skip
    for name, value in replaced.items():
        with suppress(AttributeError):
            setattr(torch.library, name, value)
    for name in ("allow_in_graph", "disable"):
        setattr(torch.compiler, name, hidden)


def unchanged(value: Any) -> Any:
    """Return the value."""
    return value


def hidden(function: Function | None = None, *_: Any, **__: Any) -> Any:
    """Return the function that `torch.compiler.disable` decorates, called with options or without."""
    return unchanged if function is None else function
