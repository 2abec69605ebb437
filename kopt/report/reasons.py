"""Write foreign words on one line: the reason of a failure, what a proposer says of its change."""

from __future__ import annotations

import re

from kopt.neutral import one_line

POINT = re.compile(r"(?:\bline \d+; )?\b(?:error|fatal)\s+: .*")
"""The line of ptxas that says what is wrong, below lines that say that something is."""


def short_reason(text: str, most: int) -> str:
    """Write a reason on one line of at most `most` characters.

    A longer one is cut in the middle, since an error of Python or Triton has its kind at the begin and its point at the
    end; of a message of ptxas, its first error is kept.
    """
    point = POINT.search(text)
    if point:
        kind = text.lstrip().partition(":")[0]
        text = f"{kind}: {point.group()}" if len(kind) <= most // 4 else point.group()
    line = one_line(text, max(4 * most, len(text)))
    if len(line) <= most or point:
        return one_line(line, most)
    head = most // 3
    return f"{line[:head].rstrip()} ... {line[len(line) - (most - head - 5) :].lstrip()}"


def in_its_words(description: str, name: str, most: int = 1000) -> str:
    """Write what a proposer says of its change, marked as its words; a seed kernel's description is kopt's own.

    Args:
        description: the description; empty where there is none.
        name: name of the candidate.
        most: most characters of the description.

    Returns:
        `, in its words: ...`, to go on with after the candidate; empty where there is no description.
    """
    if not description:
        return ""
    return f"{': ' if name.startswith('r0a') else ', in its words: '}{one_line(description, most)}"
