"""Find the blocks of code in a text, and mend characters that no Python module may hold."""

from __future__ import annotations

import ast
import json
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator

from kopt.neutral import one_line

FENCE = re.compile(r"^(?P<indent>[ \t>]*)(?P<marks>`{3,}|~{3,})[ \t]*(?P<info>[^`\n]*)$", re.MULTILINE)

MOST_FENCES = 24
"""Fences of a text that are tried in pairs."""


def code_blocks(text: str) -> list[str]:
    """Return the blocks of code in a text, in order: fenced ones, or, without any, what looks like a module."""
    blocks = [*_fenced(text), *_tagged(text)]
    if not any("def " in block for block in blocks):
        blocks += _in_json(text) or _bare(text)
    return [mended(block) for block in blocks if block.strip()]


def blocks_with_fences_inside(text: str, is_wanted: Callable[[str], bool]) -> list[str]:
    """Return the longest wanted block between two fences; its docstrings may hold fences."""
    marks = list(FENCE.finditer(text))[:MOST_FENCES]
    for opened in marks:
        for closed in reversed([mark for mark in marks if mark.start() > opened.start()]):
            block = mended(_undented(text[opened.end() + 1 : closed.start()], opened["indent"]))
            if is_wanted(block):
                return [block]
    return []


def stops_in_a_fence(text: str) -> bool:
    """Return whether the last fence of a text is not closed."""
    opened: re.Match[str] | None = None
    for mark in FENCE.finditer(text):
        opened = mark if opened is None or not _closes(mark, opened) else None
    return opened is not None


def _fenced(text: str) -> list[str]:
    """Return the contents of fences; a fence that is never closed reaches to the end."""
    blocks, opened = [], None
    for mark in FENCE.finditer(text):
        if opened is None:
            opened = mark
        elif _closes(mark, opened):
            blocks.append(_undented(text[opened.end() + 1 : mark.start()], opened["indent"]))
            opened = None
        elif mark["info"].strip() and mark["marks"][0] == opened["marks"][0]:
            blocks.append(_undented(text[opened.end() + 1 : mark.start()], opened["indent"]))
            opened = mark
    if opened is not None:
        blocks.append(_closed_in_line(_undented(text[opened.end() + 1 :], opened["indent"])))
    return blocks


def _closes(mark: re.Match[str], opened: re.Match[str]) -> bool:
    """Return whether a fence closes an opened fence, by the rules of CommonMark."""
    same = mark["marks"][0] == opened["marks"][0] and len(mark["marks"]) >= len(opened["marks"])
    return same and not mark["info"].strip()


def _closed_in_line(block: str) -> str:
    """Return a block up to marks that stand at the end of its last line of code instead of below it."""
    head, marks, _ = block.rpartition("```")
    return head if marks and parsed(block) is None and parsed(head) is not None else block


def _undented(block: str, indent: str) -> str:
    lines = block.split("\n")
    if indent:
        lines = [line.removeprefix(indent) if line.strip() else "" for line in lines]
    return textwrap.dedent("\n".join(lines))


TAG = re.compile(r"<(?P<tag>kernel|code|python|answer)>(?P<body>.*?)(?:</(?P=tag)>|\Z)", re.DOTALL | re.IGNORECASE)


def _tagged(text: str) -> list[str]:
    return [textwrap.dedent(match["body"]) for match in TAG.finditer(text)]


def _in_json(text: str) -> list[str]:
    """Return the modules among the strings of a text that is one JSON object."""
    if not text.lstrip().startswith("{"):
        return []
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return []
    return [part for part in value.values() if isinstance(part, str) and "def " in part]


STARTS = re.compile(r"^(?:import |from \w[\w.]* import |@triton\.|@|def |class )", re.MULTILINE)


def _bare(text: str) -> list[str]:
    """Return code without a fence: from the first line that starts a module, to the last line with which it parses."""
    lines = [line for line in text.split("\n") if not FENCE.match(line)]
    text = "\n".join(lines)
    match = STARTS.search(text)
    if match is None:
        return []
    rest = text[match.start() :].split("\n")
    for end in _ends(rest):
        block = "\n".join(rest[:end])
        if parsed(block) is not None:
            return [block]
    return ["\n".join(rest)]


def _ends(lines: list[str]) -> list[int]:
    """Return the lines before which bare code may end, the last first: the end, or a line without indentation."""
    margin = [n for n, line in enumerate(lines) if line and not line[0].isspace()]
    return [len(lines), *sorted(margin[-60:], reverse=True)]


def parsed(block: str) -> ast.Module | None:
    """Return the syntax tree of a block; None where it does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(block)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


QUOTED = 80
"""Characters of a line that is quoted."""


def syntax_error(block: str) -> str:
    """Return why a block does not parse, in one line, with its line: `line 3: '(' was never closed: def f(x:`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(block)
    except SyntaxError as error:
        where = f"line {error.lineno}: " if error.lineno else ""
        quoted = _quoted(error.text or "", error.offset or 1)
        return f"{where}{error.msg}{f': {quoted}' if quoted else ''}"
    except (ValueError, RecursionError, MemoryError) as error:
        return f"{type(error).__name__}: {error}"
    return "does not parse"


def _quoted(line: str, column: int) -> str:
    """Return a line, or of a long one the part around a column, which counts from 1."""
    start = max(0, min(column - QUOTED // 2, len(line) - QUOTED)) if len(line) > QUOTED else 0
    part = line[start : start + QUOTED]
    before, after = "... " if line[:start].strip() else "", " ..." if line[start + QUOTED :].strip() else ""
    return f"{before}{one_line(part)}{after}"


INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\u00ad\u200e\u200f\ufeff"), "")
BLANKS = dict.fromkeys(
    map(ord, "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"), " "
)
BREAKS = dict.fromkeys(map(ord, "\u0085\u2028\u2029"), "\n")
SPACES = INVISIBLE | BLANKS | BREAKS
"""Characters that look like nothing, like a blank or like the end of a line, and that no Python module may hold."""
SIGNS = {
    ord(sign): plain
    for signs, plain in (("“”„‟″", '"'), ("‘’‚‛′", "'"), ("‐‑–—−", "-"), ("…", "..."))
    for sign in signs
}
"""Signs that word processors write in place of ASCII's."""

STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""|' + r"'''(?:\\.|[^\\])*?'''" + r'|"(?:\\.|[^"\\\n])*"' + r"|'(?:\\.|[^'\\\n])*'|\#[^\n]*",
    re.DOTALL,
)
"""A string of Python or a comment."""

NUMBERED = re.compile(r"^ *\d+ ?[|:] ?")


def mended(block: str) -> str:
    """Return a block that does not parse in a form that does: plain blanks and quotes outside strings, no line numbers.

    A block that parses, or that does not parse in any form, is returned as it is.
    """
    if parsed(block) is not None:
        return block
    return next((form for form in _forms(block) if parsed(form) is not None), block)


def _forms(block: str) -> Iterator[str]:
    yield (spaced := outside_strings(block, lambda code: code.translate(SPACES)))
    yield outside_strings(spaced, lambda code: code.translate(SIGNS))
    yield block.translate(SPACES).translate(SIGNS)
    lines = block.split("\n")
    if all(NUMBERED.match(line) for line in lines if line.strip()):
        yield "\n".join(NUMBERED.sub("", line) for line in lines)


def outside_strings(block: str, change: Callable[[str], str]) -> str:
    """Return a block whose code is changed and whose strings and comments are not."""
    parts, start = list[str](), 0
    for match in STRING.finditer(block):
        parts += [change(block[start : match.start()]), match[0]]
        start = match.end()
    return "".join([*parts, change(block[start:])])
