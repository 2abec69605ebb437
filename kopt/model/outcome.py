"""Define the result of a run, measured once more at its end."""

from __future__ import annotations

from kopt.model.base import Value
from kopt.model.timing import Finals
from kopt.model.trial import SelectionRow

SEED = "seed"
BEST = "best"
"""Names of kernels in an outcome's `finals`, beside the names of the baselines."""


class Outcome(Value):
    """The best kernel, the seed and the baselines, measured side by side on fresh inputs in fresh processes."""

    best: SelectionRow
    """The fastest kernel of the last round that passed when it was verified once more."""
    finals: Finals
    """Verdicts and times of `best`, `seed` and the baselines."""
