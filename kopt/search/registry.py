"""Find a strategy by its name: a module of `kopt.search.strategies`, imported only when it is the one asked for.

So an edit of one strategy reruns only the searches that use it.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from kopt.errors import ConfigError, nearest
from kopt.search import strategies
from kopt.search.strategy import Archive, Strategy


def strategy_names() -> list[str]:
    """List the names of all strategies, in alphabetical order."""
    return sorted(module.name for module in iter_modules(strategies.__path__))


def load_strategy(name: str) -> Strategy[Archive]:
    """Load a strategy by its name.

    Raises:
        ConfigError: there is no such strategy.
    """
    names = strategy_names()
    if name not in names:
        raise ConfigError(f"strategy: unknown {name!r}{nearest(name, names)}; strategies are {', '.join(names)}")
    strategy = import_module(f"{strategies.__name__}.{name}").STRATEGY
    assert isinstance(strategy, Strategy)
    return strategy
