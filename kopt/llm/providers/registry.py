"""List the providers: every other module of this folder.

Names come from file names alone, so that a model table is checked without loading a provider.
"""

from __future__ import annotations

import pkgutil
from functools import cache
from pathlib import Path

PORTABLE = "openai-chat"
"""The protocol that most servers take: requests to any model can be written in it for someone else to answer."""


@cache
def names() -> tuple[str, ...]:
    """Return the names of the providers, as the model table writes them, in alphabetical order."""
    modules = {module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])}
    return tuple(sorted(name.replace("_", "-") for name in modules - {"registry"}))


def checked(name: str) -> str:
    """Return the name of a provider as it is.

    Raises:
        ValueError: there is no such provider.
    """
    if name not in names():
        *others, last = (f"'{known}'" for known in names())
        raise ValueError(f"a provider is {', '.join(others)} or {last}")
    return name


def module_of(name: str) -> str:
    """Return the dotted name of a provider's module: what a code digest of calls to this provider must cover."""
    return f"{__package__}.{name.replace('-', '_')}"
