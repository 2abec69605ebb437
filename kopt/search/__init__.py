"""Decide the search, in pure functions: diagnose parents, choose parents, share out slots, stop.

The steps of a round, each with its owner:

1. `order` sorts the pool by time and merges kernels with equal fingerprints.
2. `select` lets the run's strategy choose the parents of the next round.
3. `diagnose` ranks what limits each parent by the rules of `bottlenecks`.
4. `expand` gives every slot of the round a parent, a direction and a proposer.
5. `stopping` ends the search at the roofline or after too many rounds without improvement.

`strategy` says what a strategy is, each module of `strategies` is one, and `registry` finds it by name.

Values in, values out: nothing here reads a run's files or a clock or knows a device.  Ties are broken explicitly, so
that the same pool gives the same parents in whatever order it comes.
"""
