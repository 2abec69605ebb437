"""Find numbers of a proposer's words that the build contradicts: of warps, of stages, of block sizes.

Words are no data: only a number that stands beside its name counts, in a clause that says nothing of what was tried,
or would be, and only where none of the numbers that the words name is in the build.  Numbers of the parent's build are
left out, since words tell what was there before, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from kopt.view.kernel import LaunchView

CHANGE = r"(\d+)(?:\s*(?:→|->|=>|to)\s*(\d+))?"
"""A number, or the number before and after a change: `4`, `4 → 8`, `4 to 8`."""
NAMED = rf"\s*(?:=|:|of|is|at|to|from|set to)?\s*{CHANGE}(?![\w.*×])"
"""Pattern of the text after the name of a setting: `=4`, ` from 4 to 8`."""
WARPS = (
    re.compile(rf"\bnum_warps\b{NAMED}"),
    re.compile(rf"(?<![\w.]){CHANGE}[ -]warps?\b(?! ?groups?\b)", re.IGNORECASE),
)
STAGES = (
    re.compile(rf"\bnum_stages\b{NAMED}"),
    re.compile(rf"(?<![\w.]){CHANGE}(?: pipeline|[ -]stage (?:software )?pipelin)", re.IGNORECASE),
)
SOURCE_STAGES = re.compile(r"\bnum_stages\s*=\s*(\d+)")
"""Stages of one loop, which the source gives and no launch tells."""
BLOCK = re.compile(r"BLOCK|TILE")
"""Part of the names of compile-time values that are block sizes."""
OF_ANOTHER = re.compile(
    r"(?:instead of|rather than|from|than|not|without|over|against|versus|vs\.?|was|were|groups? of|parent's|previous"
    r"|old)\s*$",
    re.IGNORECASE,
)
"""Pattern of the text before a number that belongs to another kernel: `instead of ` in `instead of 8 warps`."""
LISTED = re.compile(r"(?<![\w.])(\d+)(?:,|,? (?:and|or)|/)\s*$")
"""A number of a list before its last one: `4 and ` of `4 and 8 warps`."""
PER_OTHER = re.compile(
    r"\s*'|\s*(?:(?:(?:on|in|across)\s+)?(?:per|/|a|an|each|of)\s+"
    r"(?!block|program|cta|thread|kernel|launch|instance)|resident|active|in flight)",
    re.IGNORECASE,
)
"""Pattern of the text behind a number of warps of more than a block: ` per SM` in `64 warps per SM`."""
CLAUSE = re.compile(r"[.;,:()\n](?!\d)")
"""Where a clause begins and ends."""
TRIED = re.compile(
    r"\b(?:would|could|might|was|were|did|does|cannot|can't|didn't|doesn't|tried|spill\w*|fits?|slow\w*|wast\w*|idle"
    r"|instead|at most|at least|up to|more than|less than|if|unless|only|kernels)\b",
    re.IGNORECASE,
)
"""Words that mark a clause about another attempt or several kernels: `num_warps=16 was slower`."""
OPERATOR = re.compile(r"[*/+=<>-]\s*$")
"""Pattern of the text before a name within an expression: `* ` in `BLOCK_M * BLOCK_N = 32768`."""
UNIT = re.compile(r"\s*(?:[KMG]i?B|bytes?|bits?|%|rows|columns|elements|values)\b", re.IGNORECASE)
"""Pattern of the text behind a number with a unit, which is no block size: ` KB` in `BLOCK_M: 32 KB`."""


def contradictions(words: str, source: str, own: Sequence[LaunchView], parent: Sequence[LaunchView]) -> tuple[str, ...]:
    """Tell what the build shows where a proposer's words name other numbers: `4 warps, not 8`.

    Args:
        words: the proposer's words.
        source: the kernel's source.
        own: launches of the kernel's build; nothing is told without one.
        parent: launches of its parent's build.
    """
    if not own:
        return ()
    found = []
    if "warp_specialize" not in source:  # else a launch has more warps than num_warps says
        known = {launch.warps for launch in own}
        found.append(_told(_named(words, WARPS), known, {launch.warps for launch in parent}, "{} warps"))
    stages = {launch.stages for launch in own} | {int(number) for number in SOURCE_STAGES.findall(source)}
    stages |= {number for name in _constants(own) if "STAGE" in name for number in _values(own, name)}
    found.append(_told(_named(words, STAGES), stages, {launch.stages for launch in parent}, "{} stages"))
    for name in _constants(own):
        if BLOCK.search(name):
            named = _named(words, (re.compile(rf"\b{re.escape(name)}\b{NAMED}"),))
            found.append(_told(named, _values(own, name), _values(parent, name), f"{name} = {{}}"))
    return tuple(filter(None, found))


def _told(named: Mapping[int, bool], built: set[int], before: set[int], text: str) -> str:
    """Tell the numbers of the build where the words name others alone; empty where they do not."""
    others = {number for number, sure in named.items() if sure} - before
    if not built or not others or built & named.keys():
        return ""
    return f"{text.format(_listed(built))}, not {_listed(others)}"


def _listed(numbers: Iterable[int]) -> str:
    return " or ".join(map(str, sorted(numbers)))


def _named(words: str, patterns: Iterable[re.Pattern[str]]) -> dict[int, bool]:
    """Return the numbers that words give a setting, of a change the one after it, and whether each surely is its."""
    found: dict[int, bool] = {}
    for pattern in patterns:
        for number, sure in _matched(words, pattern):
            found[number] = sure or found.get(number, False)
    return found


def _matched(words: str, pattern: re.Pattern[str]) -> Iterator[tuple[int, bool]]:
    for match in pattern.finditer(words):
        first, after = match.groups()
        if _is_of_a_trial(words, match):
            continue
        later = re.match(r"\s*(?:→|->|=>|to)\s*(\d+)\b", words[match.end() :])
        if later:
            yield int(later[1]), True
        elif after:
            yield int(after), True
        elif _is_of_this_kernel(words, match):
            yield int(first), True
            before = words[: match.start()]
            while listed := LISTED.search(before):
                yield int(listed[1]), False
                before = before[: listed.start()]


def _is_of_a_trial(words: str, match: re.Match[str]) -> bool:
    """Return whether the clause of a number tells what was tried, or would be."""
    before, behind = CLAUSE.split(words[: match.start()])[-1], CLAUSE.split(words[match.end() :])[0]
    return TRIED.search(before + match[0] + behind) is not None


def _is_of_this_kernel(words: str, match: re.Match[str]) -> bool:
    """Return whether a number is of this kernel's launches, as far as the words right beside it show."""
    before, behind = words[: match.start()], words[match.end() :]
    return not (OF_ANOTHER.search(before) or OPERATOR.search(before) or PER_OTHER.match(behind) or UNIT.match(behind))


def _constants(launches: Iterable[LaunchView]) -> list[str]:
    return list(dict.fromkeys(name for launch in launches for name in launch.constants))


def _values(launches: Iterable[LaunchView], name: str) -> set[int]:
    """Return the whole numbers that a compile-time value has in the launches."""
    texts = (launch.constants.get(name, "") for launch in launches)
    return {int(text) for text in texts if text.isdecimal()}
