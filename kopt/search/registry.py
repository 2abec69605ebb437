"""Find a strategy by its name: a module of `kopt.search.strategies`, imported only when it is the one asked for.

So an edit of one strategy reruns only the searches that use it.
"""

from __future__ import annotations

from importlib import import_module

from kopt.discovery import module_names
from kopt.errors import ConfigError, nearest_and
from kopt.search import strategies
from kopt.search.strategy import Archive, Strategy


def strategy_names() -> list[str]:
    """List the names of all strategies, in alphabetical order."""
    return list(module_names(strategies.__name__))


def load_strategy(name: str) -> Strategy[Archive]:
    """Load a strategy by its name.

    Raises:
        ConfigError: there is no such strategy.
    """
    names = strategy_names()
    if name not in names:
        known = f"strategies are {', '.join(names)}"
        raise ConfigError(f"strategy: unknown {name!r}{nearest_and(name, names, known)}")
    strategy = import_module(f"{strategies.__name__}.{name}").STRATEGY
    assert isinstance(strategy, Strategy)
    return strategy
