"""What a run came to, measured anew."""

from __future__ import annotations

from kopt.model.base import Value
from kopt.model.timing import Finals
from kopt.model.trial import SelectionRow

SEED = "seed"
BEST = "best"
"""Names in an outcome's measurement, beside those of the baselines."""


class Outcome(Value):
    """The best kernel, the seed and the baselines, side by side on fresh inputs in fresh processes."""

    best: SelectionRow
    """The fastest kernel of the last round that passed once more."""
    finals: Finals
    """Of `best`, `seed` and the baselines."""
