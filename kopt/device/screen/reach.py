"""Which modules a dotted name reaches: modules hold the modules that they import, as attributes.

`enum.bltns` is `builtins`, `torch.serialization.pickle` is `pickle`.  Names are looked up in the modules themselves,
in the versions that a candidate's process has.  Packages are imported for it, and none of their submodules.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Collection
from types import ModuleType


def foreign_module(path: tuple[str, ...], allowed: Collection[str]) -> str:
    """The first module outside the allowed packages that a dotted name passes through; empty when there is none.

    Args:
        path: its parts; the first is a package.
        allowed: names of packages.
    """
    if path[0] not in allowed:
        return ""  # refused as an import
    module: ModuleType | None = importlib.import_module(path[0])
    for name in path[1:]:
        if module is None:
            return _by_name(name, allowed)
        value = vars(module).get(name) or sys.modules.get(f"{module.__name__}.{name}")
        if value is not None and not isinstance(value, ModuleType):
            return ""  # what a class or a function holds is no module
        if value is not None and value.__name__.partition(".")[0] not in allowed:
            return value.__name__
        module = value
    return ""


def is_module(path: tuple[str, ...]) -> bool:
    """Whether a dotted name is a module, here or not imported yet."""
    parent, value = _reached(path)
    if value is None and parent is not None and hasattr(parent, "__path__"):
        return importlib.util.find_spec(f"{parent.__name__}.{path[-1]}") is not None
    return isinstance(value, ModuleType)


def same_module(path: tuple[str, ...]) -> tuple[str, ...]:
    """The name that a module gives itself, where a dotted name is one that is here; else the dotted name."""
    _, value = _reached(path)
    return tuple(value.__name__.split(".")) if isinstance(value, ModuleType) else path


def _reached(path: tuple[str, ...]) -> tuple[ModuleType | None, object]:
    """The module that holds what a dotted name stands for, and that; None where it is not here."""
    parent, value = None, sys.modules.get(path[0])
    for name in path[1:]:
        if not isinstance(value, ModuleType):
            return None, None
        parent, value = value, vars(value).get(name, sys.modules.get(f"{value.__name__}.{name}"))
    return parent, value


def _by_name(name: str, allowed: Collection[str]) -> str:
    """A name in a module that is not here counts as the standard module of that name."""
    return name if name in sys.stdlib_module_names and name not in allowed else ""
