"""Find the edits in a reply, as SEARCH/REPLACE blocks or as a unified diff, and apply them to the module they change.

An edit says which lines it replaces.  These lines must stand in the module exactly, or else with other blanks at their
ends, or else with another indentation of them all; what stands at several places is applied at none, unless a diff's
line number chooses one.  Either every edit of a reply fits, or the reply is no proposal, for a reason in one line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from kopt.llm.reply import one_line
from kopt.llm.text.blocks import BLANKS, BREAKS, INVISIBLE

Lines = list[str]


class Edit(NamedTuple):
    """Lines that replace other lines."""

    old: tuple[str, ...]
    new: tuple[str, ...]
    line: int | None = None
    """Number of the first old line, from 1, as a diff gives it; it chooses among several places."""


class Misfit(NamedTuple):
    """Why an edit cannot be applied, in one line."""

    reason: str


SEARCH_REPLACE = re.compile(
    r"^[ \t>]*<{5,9}[ \t]*(?:SEARCH|ORIGINAL|HEAD|OLD)\b[^\n]*\n(?P<old>.*?)"
    r"^[ \t>]*={5,9}[ \t]*\n(?P<new>.*?)^[ \t>]*>{5,9}[ \t]*(?:REPLACE|UPDATED|NEW|MODIFIED)\b[^\n]*$",
    re.MULTILINE | re.DOTALL | re.IGNORECASE,
)

DIFF_FENCE = re.compile(
    r"^[ \t]*(?P<marks>`{3,}|~{3,})[ \t]*(?:diff|patch|udiff)\b[^\n]*\n(?P<body>.*?)(?:^[ \t]*(?P=marks)[ \t]*$|\Z)",
    re.MULTILINE | re.DOTALL | re.IGNORECASE,
)

BARE_DIFF = re.compile(
    r"^(?:--- [^\n]*\n\+\+\+ [^\n]*\n|\*\*\* Begin Patch\n|@@ )(?:.*\n?)*?(?=^[`~]{3,}|\Z)", re.MULTILINE
)

HUNK = re.compile(r"^@@(?:[ \t]*-(?P<line>\d+)(?:,\d+)?[ \t]+\+\d+(?:,\d+)?[ \t]*@@)?")

HEADERS = ("--- ", "+++ ", "diff ", "index ", "*** ", "\\ No newline")


def edits_in(text: str) -> list[Edit]:
    """Return the edits in a text, in order; SEARCH/REPLACE blocks where there are any, else those of its diffs."""
    text = text.translate(INVISIBLE | BREAKS)
    blocks = [Edit(_lines(match["old"]), _lines(match["new"])) for match in SEARCH_REPLACE.finditer(text)]
    if blocks:
        return blocks
    fenced = [match["body"] for match in DIFF_FENCE.finditer(text)]
    diffs = fenced or [match[0] for match in BARE_DIFF.finditer(text)]
    return [edit for diff in diffs for edit in _hunks(diff)]


def without_edits(text: str) -> str:
    """Return a text without the edits in it, whose halves are no modules."""
    return DIFF_FENCE.sub("\n\n", SEARCH_REPLACE.sub("\n\n", text))


def edited(source: str, edits: Sequence[Edit]) -> str | Misfit:
    """Return a module with edits, applied one after another, or why one does not fit."""
    lines = source.split("\n")
    moved = 0
    for number, edit in enumerate(edits, 1):
        expected = None if edit.line is None else edit.line - 1 + moved
        changed = _applied(lines, edit, expected)
        if changed is None and edit.line is None:
            changed = _applied_in_pieces(lines, edit)
        if changed is None:
            return Misfit(_misfit(lines, edit, number, len(edits)))
        moved += len(changed) - len(lines)
        lines = changed
    return "\n".join(lines)


def _lines(text: str) -> tuple[str, ...]:
    return tuple(text.removesuffix("\n").split("\n")) if text.strip("\n") else ()


def _hunks(diff: str) -> list[Edit]:
    """Return the hunks of a diff, which may lack line numbers; a diff without `@@` is one hunk."""
    edits, old, new, line = list[Edit](), list[str](), list[str](), None

    def end() -> None:
        if old != new:
            edits.append(_trimmed(old, new, line))

    for text in diff.rstrip("\n").split("\n"):
        if text.startswith(HEADERS):
            continue
        if hunk := HUNK.match(text):
            end()
            old, new, line = [], [], int(hunk["line"]) if hunk["line"] else None
        elif text.startswith("-"):
            old.append(text[1:])
        elif text.startswith("+"):
            new.append(text[1:])
        else:
            kept = text[1:] if text.startswith(" ") else text
            old.append(kept)
            new.append(kept)
    end()
    return edits


def _trimmed(old: Lines, new: Lines, line: int | None) -> Edit:
    """Return an edit without the empty lines around it, which models add or drop."""
    while old and new and old[0] == new[0] == "":
        old, new, line = old[1:], new[1:], None if line is None else line + 1
    while old and new and old[-1] == new[-1] == "":
        old, new = old[:-1], new[:-1]
    return Edit(tuple(old), tuple(new), line)


def _applied(lines: Lines, edit: Edit, expected: int | None) -> Lines | None:
    """Return the lines with one edit, or None where its place is not known."""
    if not edit.old:
        if expected is None or not 0 <= expected + 1 <= len(lines):
            return None
        return [*lines[: expected + 1], *edit.new, *lines[expected + 1 :]]
    for alike in (_exact, _blanks_apart, _stripped):
        places = _places(lines, edit.old, alike)
        if len(places) > 1 and expected is not None:
            places = [min(places, key=lambda place: abs(place - expected))]
        if len(places) == 1:
            start, end = places[0], places[0] + len(edit.old)
            return [*lines[:start], *_fitted(edit, lines[start:end]), *lines[end:]]
        if places:
            return None
    return None


def _applied_in_pieces(lines: Lines, edit: Edit) -> Lines | None:
    """Return the lines with a diff whose pairs of old and new lines lie apart and that shows nothing between them."""
    if len(edit.old) != len(edit.new) or len(edit.old) < 2:
        return None
    for old, new in zip(edit.old, edit.new, strict=True):
        changed = _applied(lines, Edit((old,), (new,)), None) if old != new else lines
        if changed is None:
            return None
        lines = changed
    return lines


def _exact(line: str) -> str:
    return line


def _blanks_apart(line: str) -> str:
    return line.translate(BLANKS).expandtabs(4).rstrip()


def _stripped(line: str) -> str:
    return _blanks_apart(line).strip()


def _places(lines: Lines, old: Sequence[str], alike: Callable[[str], str]) -> list[int]:
    """Return where the old lines stand, as line numbers from 0."""
    wanted, have = [alike(line) for line in old], [alike(line) for line in lines]
    if not any(wanted):
        return []
    return [n for n in range(len(have) - len(wanted) + 1) if have[n : n + len(wanted)] == wanted]


def _fitted(edit: Edit, there: Lines) -> Lines:
    """Return the new lines, moved by as much as the old ones are indented differently from the lines that are there."""
    moves = {_indent(have) - _indent(old) for old, have in zip(edit.old, there, strict=True) if old.strip()}
    move = moves.pop() if len(moves) == 1 else 0
    plain = [line.translate(BLANKS).expandtabs(4) if move else line.translate(BLANKS) for line in edit.new]
    if move >= 0:
        return [" " * move + line if line.strip() else line for line in plain]
    return [line[min(-move, _indent(line)) :] for line in plain]


def _indent(line: str) -> int:
    plain = _blanks_apart(line)
    return len(plain) - len(plain.lstrip())


def _misfit(lines: Lines, edit: Edit, number: int, count: int) -> str:
    which = f"edit {number} of {count}" if count > 1 else "the edit"
    if not edit.old:
        return f"{which} says no lines that it replaces or follows"
    shown = one_line(next((line for line in edit.old if line.strip()), "an empty line"))[:80]
    places = len(_places(lines, edit.old, _stripped))
    if places > 1:
        return f"{which} fits at {places} places of the kernel, show more lines around it: {shown}"
    have = {_stripped(line) for line in lines}
    missing = next((line for line in edit.old if line.strip() and _stripped(line) not in have), None)
    if missing is not None:
        return f"{which} replaces a line that the kernel does not have: {one_line(missing)[:80]}"
    return f"{which} replaces lines that do not stand together in the kernel, beginning with: {shown}"
