"""Find the kernel in a reply: total functions of text, which run nothing and never raise.

A reply holds fences of any kind or none, several blocks, prose around them, or stops in the middle.  Of the blocks that
parse and define the entry point, the last wins: models show the old code first and correct themselves later.
"""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from kopt.llm.reply import Empty, Refused, Reply, Truncated, Unanswered
from kopt.model.base import Value
from kopt.model.kernel import Kernel

LONGEST_SOURCE = 100_000
"""Characters of a block; a longer one is not taken for a kernel."""
APOLOGY = 400
"""Characters of prose in a continuation, before a model opens a fence again."""
MOST_FENCES = 24
"""Fences of a reply that are tried in pairs."""


class NoKernel(StrEnum):
    """Why a reply holds no kernel."""

    UNANSWERED = "unanswered"
    REFUSED = "refused"
    EMPTY = "empty"
    TRUNCATED = "truncated"
    """The reply was cut off before its code was whole."""
    NO_CODE = "no_code"
    SYNTAX = "syntax"
    """Code was found, and does not parse; the detail names the line."""
    NO_ENTRY = "no_entry"
    """Code was found and parses, and none of it defines the entry point."""


class Extracted(Value):
    """The kernel in a reply."""

    status: Literal["extracted"] = "extracted"
    kernel: Kernel
    description: str
    """What the reply says of its change, one paragraph."""


class NotExtracted(Value):
    """A reply without a usable kernel: a failed proposal, which may be repaired once."""

    status: Literal["not_extracted"] = "not_extracted"
    reason: NoKernel
    detail: str
    """One line for a person and for the repair prompt."""
    draft: str = ""
    """The code that was found and cannot be used."""


Extraction = Annotated[Extracted | NotExtracted, Field(discriminator="status")]


def kernel_of(reply: Reply, entry: str) -> Extracted | NotExtracted:
    """Return the kernel in a reply.

    Args:
        reply: any of the five outcomes.
        entry: name of the function that the kernel must define.
    """
    if isinstance(reply, Unanswered):
        return NotExtracted(reason=NoKernel.UNANSWERED, detail=f"{reply.reason}: {reply.detail}")
    if isinstance(reply, Refused):
        return NotExtracted(reason=NoKernel.REFUSED, detail=_one_line(reply.text) or f"refused ({reply.stop})")
    if isinstance(reply, Empty):
        return NotExtracted(reason=NoKernel.EMPTY, detail=f"the reply was empty ({reply.stop})")
    extraction = kernel_in(reply.text, entry)
    if isinstance(reply, Truncated) and _stops_in_code(extraction, reply.text):
        detail = f"the reply was cut off ({reply.stop}) before its code was whole"
        draft = extraction.draft if isinstance(extraction, NotExtracted) else extraction.kernel.source
        return NotExtracted(reason=NoKernel.TRUNCATED, detail=detail, draft=draft)
    return extraction


def _stops_in_code(extraction: Extracted | NotExtracted, text: str) -> bool:
    """Return whether a text stops in its kernel, which may parse without its last lines."""
    if isinstance(extraction, NotExtracted):
        return True
    last_line = extraction.kernel.source.rstrip().rsplit("\n", 1)[-1]
    return _plain(text).rstrip().endswith(last_line)


def kernel_in(text: str, entry: str) -> Extracted | NotExtracted:
    """Return the kernel in a text, whatever stands around it."""
    blocks = [block for block in code_blocks(text) if len(block) <= LONGEST_SOURCE]
    parsed = [(block, tree) for block in blocks if (tree := _parse(block)) is not None]
    defining = [block for block, tree in parsed if _defines(tree, entry)] or _with_fences_inside(text, entry)
    if defining:
        source = _with_its_kernels(defining[-1], [block for block, _ in parsed], entry).strip("\n") + "\n"
        return Extracted(kernel=Kernel(source=source, entry=entry), description=description_in(text))
    if parsed and any(_names(tree) for _, tree in parsed):
        best = max((block for block, tree in parsed if _names(tree)), key=len)
        names = ", ".join(_names(ast.parse(best))[:6])
        return NotExtracted(reason=NoKernel.NO_ENTRY, detail=f"no function {entry!r}, only {names}", draft=best)
    broken = [block for block in blocks if "def " in block or "import " in block]
    if broken:
        best = max(broken, key=lambda block: (f"def {entry}" in block, len(block)))
        return NotExtracted(reason=NoKernel.SYNTAX, detail=_syntax_error(best), draft=best)
    return NotExtracted(reason=NoKernel.NO_CODE, detail="the reply holds no code")


def _with_its_kernels(block: str, blocks: Sequence[str], entry: str) -> str:
    """Return the block, after the blocks before it where one of these has the Triton kernels that it launches."""
    if "triton.jit" in block or block not in blocks:
        return block
    before = [part for part in blocks[: blocks.index(block)] if not _defines(ast.parse(part), entry)]
    return "\n\n".join([*before, block]) if any("triton.jit" in part for part in before) else block


FENCE = re.compile(r"^(?P<indent>[ \t>]*)(?P<marks>`{3,}|~{3,})[ \t]*(?P<info>[^`\n]*)$", re.MULTILINE)


def code_blocks(text: str) -> list[str]:
    """Return the blocks of code in a text, in order: fenced ones, or, without any, what looks like a module."""
    text = _plain(text)
    blocks = [*_fenced(text), *_tagged(text)]
    if not any("def " in block for block in blocks):
        blocks += _bare(text)
    return [block for block in blocks if block.strip()]


def _plain(text: str) -> str:
    """Return a text with plain ends of lines and without byte-order marks."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\ufeff", "")


def _with_fences_inside(text: str, entry: str) -> list[str]:
    """Return the longest block between two fences that defines the entry point; its docstrings may hold fences."""
    text = _plain(text)
    marks = list(FENCE.finditer(text))[:MOST_FENCES]
    for opened in marks:
        for closed in reversed([mark for mark in marks if mark.start() > opened.start()]):
            block = _undented(text[opened.end() + 1 : closed.start()], opened["indent"])
            tree = _parse(block)
            if tree is not None and _defines(tree, entry):
                return [block]
    return []


def continuations(first: str, rest: str) -> tuple[str, ...]:
    """Return the readings of a continuation, the likeliest first.

    Asked to go on within a block of code, models go on, open the fence once more and go on, or begin the block again.

    Args:
        first: the text that was cut off.
        rest: the text of the continuation.
    """
    text = _plain(rest).lstrip("\n")
    again = FENCE.match(text)
    if not _stops_in_a_fence(first):
        return (rest if again is None else f"\n{rest}",)
    if again is None:
        mark = FENCE.search(text[:APOLOGY])
        again = mark if mark and mark["info"].strip() else None  # a fence without a language closes the block
    if again is None:
        return rest, f"\n```\n\n```python\n{text}"
    return text[again.end() + 1 :], f"\n```\n\n{text[again.start() :]}", rest


def _stops_in_a_fence(text: str) -> bool:
    """Return whether the last fence of a text is not closed."""
    opened: re.Match[str] | None = None
    for mark in FENCE.finditer(_plain(text)):
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
        blocks.append(_undented(text[opened.end() + 1 :], opened["indent"]))
    return blocks


def _closes(mark: re.Match[str], opened: re.Match[str]) -> bool:
    """Return whether a fence closes an opened fence, by the rules of CommonMark."""
    same = mark["marks"][0] == opened["marks"][0] and len(mark["marks"]) >= len(opened["marks"])
    return same and not mark["info"].strip()


def _undented(block: str, indent: str) -> str:
    lines = block.split("\n")
    if indent:
        lines = [line.removeprefix(indent) if line.strip() else "" for line in lines]
    return textwrap.dedent("\n".join(lines))


TAG = re.compile(r"<(?P<tag>kernel|code|python|answer)>(?P<body>.*?)(?:</(?P=tag)>|\Z)", re.DOTALL | re.IGNORECASE)


def _tagged(text: str) -> list[str]:
    return [textwrap.dedent(match["body"]) for match in TAG.finditer(text)]


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
        if _parse(block) is not None:
            return [block]
    return ["\n".join(rest)]


def _ends(lines: list[str]) -> list[int]:
    """Return the lines before which bare code may end, the last first: the end, or a line without indentation."""
    margin = [n for n, line in enumerate(lines) if line and not line[0].isspace()]
    return [len(lines), *sorted(margin[-60:], reverse=True)]


def _parse(block: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(block)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _syntax_error(block: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(block)
    except SyntaxError as error:
        return f"line {error.lineno}: {error.msg}"
    except (ValueError, RecursionError, MemoryError) as error:
        return f"{type(error).__name__}: {error}"
    return "does not parse"


def _defines(tree: ast.Module, entry: str) -> bool:
    return entry in _names(tree)


def _names(tree: ast.Module) -> list[str]:
    """Return the names that a module binds at its top level: functions, classes and plain assignments."""
    names = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
    return names


def description_in(text: str) -> str:
    """Return a reply's description of its change: the first paragraph outside code, at most 300 characters."""
    prose = re.sub(r"(?ms)^[ \t>]*(`{3,}|~{3,}).*?(^[ \t>]*\1[ \t]*$|\Z)", "\n\n", text.replace("\r\n", "\n"))
    for paragraph in re.split(r"\n\s*\n", prose):
        line = _one_line(re.sub(r"[#*`<>]+", "", paragraph))
        if len(line) >= 15 and not line.endswith(":"):
            return line
    return ""


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 300 else line[:297] + "..."
