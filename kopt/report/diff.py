"""Compare the best kernel with the seed line by line."""

from __future__ import annotations

import difflib
from typing import Literal, NamedTuple


class DiffLine(NamedTuple):
    """A line of a unified diff, with its mark (+, - or a blank)."""

    kind: Literal["added", "removed", "place", "same"]
    text: str


def diff(seed: str, best: str) -> list[DiffLine]:
    """Make a unified diff from the seed kernel to the best one; it is empty when they are equal."""
    lines = difflib.unified_diff(seed.splitlines(), best.splitlines(), lineterm="", n=3)
    return [DiffLine(_kind(line), line) for line in list(lines)[2:]]


def _kind(line: str) -> Literal["added", "removed", "place", "same"]:
    match line[:1]:
        case "+":
            return "added"
        case "-":
            return "removed"
        case "@":
            return "place"
    return "same"
