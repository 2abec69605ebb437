"""Find the modules of a package whose modules each register a command, a problem format or another extension.

`kopt.provenance.code_digest` recognises the call `modules_of("kopt.package")`: a module with this call depends on every
module of that package.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

PACKAGE = Path(__file__).resolve().parent


def module_names(package: str, root: Path = PACKAGE) -> tuple[str, ...]:
    """List the modules directly in a package of kopt, sorted and not imported; subpackages are left out.

    Args:
        package: dotted name, e.g. `kopt.problem.formats`.
        root: the folder of kopt itself.
    """
    folder = root.joinpath(*package.split(".")[1:])
    return tuple(sorted(module.name for module in pkgutil.iter_modules([str(folder)]) if not module.ispkg))


def modules_of(package: str) -> dict[str, ModuleType]:
    """Import the modules directly in a package of kopt and return them by name, sorted.

    Args:
        package: a literal such as `"kopt.problem.formats"`, which `kopt.provenance` can read from the source.
    """
    return {name: importlib.import_module(f"{package}.{name}") for name in module_names(package)}
