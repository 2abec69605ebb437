"""Part texts into what the page marks: lines of a difference; prose, which wraps, and code, which keeps its lines."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")


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


class Part(NamedTuple):
    """A run of lines of one kind; the texts of all parts together are the whole text."""

    kind: str
    """`prose` or `code`."""
    text: str


def parts(text: str) -> list[Part]:
    """Part a text at the fences of Markdown.

    The lines of the fences belong to the code; code whose fence does not close ends with the text.
    """
    found: list[Part] = []
    for kind, line in _lines(text):
        if found and found[-1].kind == kind:
            found[-1] = Part(kind, found[-1].text + line)
        else:
            found.append(Part(kind, line))
    return found


def _lines(text: str) -> Iterator[Part]:
    """Yield each line, its end included, with its kind."""
    fence = ""
    for line in text.splitlines(keepends=True):
        mark = FENCE.match(line)
        if fence:
            yield Part("code", line)
            if mark and mark[1].startswith(fence) and not line.strip().strip(fence[0]):
                fence = ""
        elif mark:
            fence = mark[1]
            yield Part("code", line)
        else:
            yield Part("prose", line)
