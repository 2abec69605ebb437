"""Find the changes between a kernel's source and its child's, in parts, and undo parts of them in a later text.

Changes are found line by line, and word by word inside lines that were replaced.  A change is undone by putting back
what it replaced; that is possible where the later text still holds all that the change wrote, in one piece.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import chain, pairwise

_WORD = re.compile(r"\n|[^\S\n]+|\w+|[^\w\s]")
_NAME = re.compile(r"[^\W\d]\w*")

MOST_WORDS = 40_000
"""Words of a text above which changes are not looked for: comparing two texts takes time with its square."""


@dataclass(frozen=True)
class Change:
    """Words that a step replaced: `before[start:end]` of the parent became `after[start:end]` of the child."""

    before: tuple[int, int]
    after: tuple[int, int]
    block: int
    """Number of the block of neighbouring lines that holds it."""


@dataclass(frozen=True)
class Step:
    """A step of a lineage as words, with its changes."""

    before: Sequence[str]
    after: Sequence[str]
    changes: tuple[Change, ...]

    def parts(self) -> list[tuple[Change, ...]]:
        """List what may be undone alone, larger parts first.

        The whole step; changes that share names which the step brings or takes away, such as a parameter with its uses;
        of the other changes blocks of lines, and single ones.
        """
        related = self._related()
        bound = set(chain.from_iterable(related))
        by_block: dict[int, list[Change]] = {}
        for change in self.changes:
            by_block.setdefault(change.block, []).append(change)
        blocks = [tuple(block) for block in by_block.values() if bound.isdisjoint(block)]
        single = [(one,) for one in self.changes if one not in bound and re.search(r"\w", self._text((one,)))]
        return [part for part in dict.fromkeys([self.changes, *related, *blocks, *single]) if self._text(part).strip()]

    def _text(self, part: Sequence[Change]) -> str:
        """Return all that a part replaced or wrote."""
        spans = ((*self.before[slice(*one.before)], *self.after[slice(*one.after)]) for one in part)
        return "".join(chain.from_iterable(spans))

    def excerpt(self, part: Sequence[Change]) -> str:
        """Quote what a part of the step changed first: the words, or the first line of longer ones."""
        for change in part:
            old, new = self.before[slice(*change.before)], self.after[slice(*change.after)]
            if "".join((*old, *new)).strip():
                return " -> ".join(filter(None, (_first_line(old), _first_line(new))))
        return "white space"

    def _related(self) -> list[tuple[Change, ...]]:
        """Group changes that share a name which only the parent or only the child has."""
        changed_names = _own_names(self.before) ^ _own_names(self.after)
        groups: list[tuple[set[str], list[Change]]] = []
        for change in self.changes:
            words = chain(self.before[slice(*change.before)], self.after[slice(*change.after)])
            names, members = set(_names(words)) & changed_names, [change]
            for group in [group for group in groups if group[0] & names]:
                groups.remove(group)
                names, members = names | group[0], [*group[1], *members]
            groups.append((names, members))
        return [tuple(sorted(members, key=lambda one: one.after)) for names, members in groups if names]


def step_of(before: str, after: str) -> Step:
    """Find the changes from a parent's source to its child's."""
    left, right = _words(before), _words(after)
    return Step(left, right, tuple(_changes(left, right)))


def undone(text: str, step: Step, part: Sequence[Change]) -> str | None:
    """Undo a part of a step in a later text; None where it cannot be undone, since later steps changed its place."""
    words = _words(text)
    if len(words) > MOST_WORDS:
        return None
    place = _places(step.after, words)
    cuts = []
    for change in part:
        span = _span(change.after, place, len(step.after), len(words))
        if span is None:
            return None
        cuts.append((span, step.before[slice(*change.before)]))
    for (start, end), old in sorted(cuts, key=lambda cut: cut[0], reverse=True):
        words[start:end] = old
    return "".join(words)


def _span(after: tuple[int, int], place: dict[int, int], words: int, end: int) -> tuple[int, int] | None:
    """Return where the words that a change wrote lie in a later text; where it wrote none, where they would lie."""
    start, stop = after
    if start < stop:
        places = [place.get(index, -1) for index in range(start, stop)]
        whole = places[0] >= 0 and places == list(range(places[0], places[0] + len(places)))
        return (places[0], places[-1] + 1) if whole else None
    left = place.get(start - 1, -2) if start else -1
    right = place.get(start, -2) if start < words else end
    return (right, right) if left + 1 == right and right >= 0 else None


def _places(before: Sequence[str], after: Sequence[str]) -> dict[int, int]:
    """Return the position in `after` of each word of `before` that is still there."""
    kept: dict[int, int] = {}
    left = right = 0
    for change in [*_changes(before, after), Change((len(before),) * 2, (len(after),) * 2, 0)]:
        kept |= zip(range(left, change.before[0]), range(right, change.after[0]), strict=True)
        left, right = change.before[1], change.after[1]
    return kept


def _changes(before: Sequence[str], after: Sequence[str]) -> list[Change]:
    """Find what differs, by lines, then by words inside blocks of lines that were replaced."""
    if len(before) > MOST_WORDS or len(after) > MOST_WORDS:
        return []
    left, right = _lines(before), _lines(after)
    old = ["".join(before[slice(*line)]) for line in left]
    new = ["".join(after[slice(*line)]) for line in right]
    found: list[Change] = []
    for block, (tag, i1, i2, j1, j2) in enumerate(SequenceMatcher(None, old, new, autojunk=False).get_opcodes()):
        span, other = _words_of(left, i1, i2, len(before)), _words_of(right, j1, j2, len(after))
        if tag == "replace":
            found += _changes_inside(before, after, span, other, block)
        elif tag != "equal":
            found += _pieces(Change(span, other, block), after)
    return found


def _changes_inside(
    before: Sequence[str], after: Sequence[str], old: tuple[int, int], new: tuple[int, int], block: int
) -> Iterator[Change]:
    """Find what differs inside lines that were replaced, by words."""
    matcher = SequenceMatcher(None, before[slice(*old)], after[slice(*new)], autojunk=False)
    codes = [("equal", old[0], old[0], new[0], new[0])]
    codes += [(kind, old[0] + a, old[0] + b, new[0] + c, new[0] + d) for kind, a, b, c, d in matcher.get_opcodes()]
    for last, (kind, a1, a2, b1, b2) in pairwise(codes):
        if kind == "insert":
            shift = _shift(after, b1, b2, last[4] - last[3] if last[0] == "equal" else 0)
            yield from _pieces(Change((a1 - shift,) * 2, (b1 - shift, b2 - shift), block), after)
        elif kind != "equal":
            yield from _pieces(Change((a1, a2), (b1, b2), block), after)


def _shift(words: Sequence[str], start: int, stop: int, most: int) -> int:
    """Return how far added words can be moved to the left to begin with a comma, as arguments do; 0 if they cannot."""
    for shift in range(most + 1):
        if words[start - shift] == ",":
            return shift
        if words[start - shift - 1] != words[stop - shift - 1]:
            return 0
    return 0


def _pieces(change: Change, after: Sequence[str]) -> list[Change]:
    """Cut words that were added into pieces: new lines behind their ends, new arguments before their commas."""
    (at, end), (start, stop) = change.before, change.after
    added = "\n" in after[start:stop] and at == end
    cuts = _line_ends(after, start, stop) if added else _outer_commas(after, start, stop)
    ends = [start, *(cut for cut in cuts if start < cut < stop), stop]
    first, *others = [span for span in pairwise(ends) if span[0] < span[1]] or [(start, stop)]
    return [Change((at, end), first, change.block), *(Change((end, end), span, change.block) for span in others)]


def _line_ends(words: Sequence[str], start: int, stop: int) -> list[int]:
    return [place + 1 for place in range(start, stop) if words[place] == "\n"]


def _outer_commas(words: Sequence[str], start: int, stop: int) -> list[int]:
    """List the commas that lie in no bracket opened since `start`."""
    commas, depth = [], 0
    for place in range(start, stop):
        depth += (words[place] in "([{") - (words[place] in ")]}")
        if words[place] == "," and depth == 0:
            commas.append(place)
    return commas


def _words(text: str) -> list[str]:
    return _WORD.findall(text)


def _lines(words: Sequence[str]) -> list[tuple[int, int]]:
    """List the lines of a text by their first word and the word after their last."""
    ends = [index + 1 for index, word in enumerate(words) if word == "\n"]
    if not ends or ends[-1] != len(words):
        ends.append(len(words))
    return list(zip([0, *ends[:-1]], ends, strict=True))


def _words_of(lines: Sequence[tuple[int, int]], first: int, last: int, end: int) -> tuple[int, int]:
    start = lines[first][0] if first < len(lines) else end
    return start, lines[last - 1][1] if last > first else start


def _first_line(words: Sequence[str]) -> str:
    return next((line.strip() for line in "".join(words).splitlines() if line.strip()), "")


def _own_names(words: Sequence[str]) -> set[str]:
    """Return the names that a text may define: no attributes, and no names of keywords in calls alone."""
    names, depth = set(), 0
    for last, word, following in zip(("", *words), words, (*words[1:], ""), strict=False):
        depth += (word in "([{") - (word in ")]}")
        if _NAME.fullmatch(word) and last != "." and not (depth and following == "="):
            names.add(word)
    return names


def _names(words: Sequence[str] | chain[str]) -> list[str]:
    return [word for word in words if _NAME.fullmatch(word)]
