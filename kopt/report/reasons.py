"""Write the reason of a failure on one short line that keeps its point."""

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
