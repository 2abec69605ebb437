"""The strategies, one module each: a subclass of `kopt.search.strategy.Strategy`, and its instance `STRATEGY`."""
