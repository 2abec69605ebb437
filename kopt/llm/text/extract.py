"""Find the kernel in a reply.

A reply holds fences of any kind or none, several blocks, prose, edits of the parent, or stops in the middle.
Of the blocks that define the entry point the last one wins that has a Triton kernel, alone or with what other blocks
define for it: models show the old code first, correct themselves later, and add references and tests in torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from kopt.llm.reply import Empty, Refused, Reply, Truncated, Unanswered, one_line
from kopt.llm.text.answer import no_answer, plain_lines, without_reasoning
from kopt.llm.text.blocks import (
    FENCE,
    blocks_with_fences_inside,
    code_blocks,
    parsed,
    stops_in_a_fence,
    syntax_error,
)
from kopt.llm.text.edits import Edit, Misfit, edited, edits_in, without_edits
from kopt.llm.text.modules import Module, Unit, bound_names, defines, modules_in, shape, units_in
from kopt.model.base import Value
from kopt.model.kernel import Kernel

LONGEST_SOURCE = 100_000
"""Characters of a block; a longer one is not taken for a kernel."""
APOLOGY = 400
"""Characters of prose in a continuation, before a model opens a fence again."""


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
    EDIT = "edit"
    """Edits were found, and do not fit the kernel that they change."""
    UNCHANGED = "unchanged"
    """The reply gives the kernel back that it was to improve."""


class Extracted(Value):
    """The kernel in a reply."""

    status: Literal["extracted"] = "extracted"
    kernel: Kernel
    description: str
    """The reply's description of its change, one paragraph."""


class NotExtracted(Value):
    """A reply without a usable kernel: a failed proposal, which may be repaired once."""

    status: Literal["not_extracted"] = "not_extracted"
    reason: NoKernel
    detail: str
    """Description in one line, for people and for the repair prompt."""
    draft: str = ""
    """The code that was found and cannot be used."""


Extraction = Annotated[Extracted | NotExtracted, Field(discriminator="status")]


def kernel_of(reply: Reply, entry: str, bases: Sequence[str] = ()) -> Extracted | NotExtracted:
    """Return the kernel in a reply.

    Args:
        reply: any of the five outcomes.
        entry: name of the function that the kernel must define.
        bases: sources that the reply may edit, the likeliest first; one that it gives back unchanged is no proposal.
    """
    if isinstance(reply, Unanswered):
        return NotExtracted(reason=NoKernel.UNANSWERED, detail=no_answer(reply))
    if isinstance(reply, Refused):
        return NotExtracted(reason=NoKernel.REFUSED, detail=no_answer(reply))
    if detail := no_answer(reply):
        reason = NoKernel.TRUNCATED if isinstance(reply, Truncated) else NoKernel.EMPTY
        return NotExtracted(reason=reason, detail=detail)
    assert not isinstance(reply, Empty)
    extraction = kernel_in(reply.text, entry, bases)
    if isinstance(reply, Truncated) and _stops_in_code(extraction, reply.text):
        detail = f"the reply was cut off ({reply.stop}) before its code was whole"
        draft = extraction.draft if isinstance(extraction, NotExtracted) else extraction.kernel.source
        return NotExtracted(reason=NoKernel.TRUNCATED, detail=detail, draft=draft)
    return extraction


def _stops_in_code(extraction: Extracted | NotExtracted, text: str) -> bool:
    """Return whether a text stops in its kernel, which may parse without its last lines, or in its edits."""
    if isinstance(extraction, NotExtracted):
        return True
    text = plain_lines(text)
    if edits_in(without_reasoning(text)) and extraction.kernel.source.strip() not in text:
        return True
    last_line = extraction.kernel.source.rstrip().rsplit("\n", 1)[-1]
    return text.rstrip().endswith(last_line)


def kernel_in(text: str, entry: str, bases: Sequence[str] = ()) -> Extracted | NotExtracted:
    """Return the kernel in a text, whatever stands around it."""
    text = without_reasoning(plain_lines(text))
    rest = without_edits(text)
    blocks = [block for block in code_blocks(rest) if len(block) <= LONGEST_SOURCE]
    units = units_in(blocks)
    modules = modules_in(units, entry) or modules_in(
        units_in(blocks_with_fences_inside(rest, lambda block: defines(block, entry))), entry
    )
    old = {tree for base in bases if (tree := shape(base))}
    new = [module for module in modules if shape(module.source) not in old]
    if not any(module.has_kernel for module in new) and (edits := edits_in(text)):
        changed = _edited(edits, bases, entry)
        if isinstance(changed, NotExtracted):
            return changed
        new.append(Module(changed, has_kernel=True))
    if new:
        best = max(enumerate(new), key=lambda numbered: (numbered[1].has_kernel, numbered[0]))[1]
        source = best.source.strip("\n") + "\n"
        return Extracted(kernel=Kernel(source=source, entry=entry), description=description_in(rest))
    if modules:
        detail = description_in(rest) or "no word about it"
        return NotExtracted(reason=NoKernel.UNCHANGED, detail=f"the kernel comes back unchanged: {detail}")
    return _without_module(blocks, units, entry, rest)


def _without_module(blocks: Sequence[str], units: Sequence[Unit], entry: str, text: str) -> NotExtracted:
    """Return why blocks hold no module with the entry point."""
    named = [unit for unit in units if bound_names(unit.tree)]
    if named:
        best = max(named, key=lambda unit: len(unit.source))
        names = ", ".join(bound_names(best.tree)[:6])
        detail = f"no function {entry!r}, only {names}"
        return NotExtracted(reason=NoKernel.NO_ENTRY, detail=detail, draft=best.source)
    broken = [block for block in blocks if "def " in block or "import " in block]
    if broken:
        worst = max(broken, key=lambda block: (f"def {entry}" in block, len(block)))
        return NotExtracted(reason=NoKernel.SYNTAX, detail=syntax_error(worst), draft=worst)
    prose = description_in(text)
    detail = "the reply holds no code" + (f": {prose}" if prose else "")
    return NotExtracted(reason=NoKernel.NO_CODE, detail=detail)


def _edited(edits: Sequence[Edit], bases: Sequence[str], entry: str) -> str | NotExtracted:
    """Return the first base that all edits fit, with the edits, or why there is none."""
    if not bases:
        return NotExtracted(reason=NoKernel.EDIT, detail="the reply holds edits, and there is no kernel to edit")
    whole = "\n".join(edits[0].new)
    if len(edits) == 1 and not edits[0].old and defines(whole, entry):
        return whole
    misfit = ""
    for base in bases:
        changed = edited(base, edits)
        if isinstance(changed, Misfit):
            misfit = misfit or changed.reason
        elif not defines(changed, entry):
            detail = f"with the edits, {syntax_error(changed) if parsed(changed) is None else f'no {entry!r} is left'}"
            return NotExtracted(reason=NoKernel.EDIT, detail=detail, draft=changed)
        else:
            return changed
    return NotExtracted(reason=NoKernel.EDIT, detail=misfit)


def continuations(first: str, rest: str) -> tuple[str, ...]:
    """Return the readings of a continuation, the likeliest first.

    Asked to go on within a block of code, models go on, open the fence once more and go on, or begin the block again.

    Args:
        first: the text that was cut off.
        rest: the text of the continuation.
    """
    text = plain_lines(rest).lstrip("\n")
    again = FENCE.match(text)
    if not stops_in_a_fence(plain_lines(first)):
        return (rest if again is None else f"\n{rest}",)
    if again is None:
        mark = FENCE.search(text[:APOLOGY])
        again = mark if mark and mark["info"].strip() else None  # a fence without a language closes the block
    if again is None:
        return rest, f"\n```\n\n```python\n{text}"
    return text[again.end() + 1 :], f"\n```\n\n{text[again.start() :]}", rest


def description_in(text: str) -> str:
    """Return a reply's description of its change: the first paragraph outside code, at most 300 characters."""
    prose = re.sub(r"(?ms)^[ \t>]*(`{3,}|~{3,}).*?(^[ \t>]*\1[ \t]*$|\Z)", "\n\n", text)
    return next(_descriptions(prose), "")


def _descriptions(prose: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", prose):
        line = one_line(re.sub(r"[#*`<>]+", "", paragraph))
        if len(line) >= 15 and not line.endswith(":"):
            yield line
