"""Implement the strategies, one module each: a subclass of `kopt.search.strategy.Strategy`, its instance `STRATEGY`."""
