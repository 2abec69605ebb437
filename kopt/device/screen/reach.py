"""Find the modules that a dotted name reaches: a module holds the modules that it imports as attributes.

`enum.bltns` is `builtins`, `torch.serialization.pickle` is `pickle`.  Names are looked up in the modules themselves, in
the versions that a candidate's process has.  To that end packages are imported, but none of their submodules.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Collection
from types import ModuleType


def foreign_module(path: tuple[str, ...], allowed: Collection[str]) -> str:
    """Return the first module outside the allowed packages that a dotted name passes through; empty when none is.

    Args:
        path: the name's parts; the first is a package.
        allowed: names of packages.
    """
    if path[0] not in allowed or not is_installed(path[0]):
        return ""  # refused as a package, or not there
    module: ModuleType | None = importlib.import_module(path[0])
    for name in path[1:]:
        if module is None:
            return _standard_module(name, allowed)
        value = vars(module).get(name) or sys.modules.get(f"{module.__name__}.{name}")
        if value is not None and not isinstance(value, ModuleType):
            return ""  # attributes of classes and functions are no modules
        if value is not None and value.__name__.partition(".")[0] not in allowed:
            return value.__name__
        module = value
    return ""


def is_installed(package: str) -> bool:
    """Return whether a package can be imported."""
    if package in sys.modules:
        return True
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def is_module(path: tuple[str, ...]) -> bool:
    """Return whether a dotted name is a module, imported or not."""
    parent, value = _reached(path)
    if value is None and parent is not None and hasattr(parent, "__path__"):
        return importlib.util.find_spec(f"{parent.__name__}.{path[-1]}") is not None
    return isinstance(value, ModuleType)


def same_module(path: tuple[str, ...]) -> tuple[str, ...]:
    """Return the module's own name for a dotted name that is an imported module; return any other name unchanged."""
    _, value = _reached(path)
    return tuple(value.__name__.split(".")) if isinstance(value, ModuleType) else path


def _reached(path: tuple[str, ...]) -> tuple[ModuleType | None, object]:
    """Return the module that holds the last part of a dotted name, and that part's value; None if not loaded."""
    parent, value = None, sys.modules.get(path[0])
    for name in path[1:]:
        if not isinstance(value, ModuleType):
            return None, None
        parent, value = value, vars(value).get(name, sys.modules.get(f"{value.__name__}.{name}"))
    return parent, value


def _standard_module(name: str, allowed: Collection[str]) -> str:
    """Return a name in a module that is not loaded if a standard module has the name and is not allowed, else empty."""
    return name if name in sys.stdlib_module_names and name not in allowed else ""
