"""Stage models: the part of the model table that a run uses, kept with it so that its costs stay what they were."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kopt.llm.table import ModelTable, load_table


def snapshot(file: Path, names: Sequence[str]) -> ModelTable:
    """The entries of the run's language models; they hold no key."""
    return load_table(file).only(names)
