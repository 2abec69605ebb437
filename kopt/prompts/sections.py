"""Sections of a prompt and how they are cut to a budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from kopt.model.base import Value

CHARS_PER_TOKEN = 4

Place = Literal["system", "stable", "own"]


class Section(Value):
    """One part of a prompt."""

    name: str
    """Its heading."""
    text: str
    budget: int
    """Most tokens; more is cut at a line's end."""
    place: Place
    """`system`: the same in the whole run; `stable`: shared by a parent's slots; `own`: this request's."""
    cut: int = 0
    """When all of it is too long, sections leave in this order, lowest first; 0 never leaves."""
    middle: bool = False
    """Cut from the middle and not from the end: right for code, whose ends say most."""


class Prompt(Value):
    """A prompt ready to be asked."""

    template: str
    """Name and version."""
    system: str
    stable: str
    """First part of the user's text, shared by sibling requests."""
    text: str
    """Rest of the user's text."""
    schema_name: str = ""
    output_schema: dict[str, Any] = Field(default_factory=dict)
    """JSON schema of the reply; empty when the reply is text."""
    shortened: tuple[str, ...] = ()
    """Names of the sections that were cut or left out."""

    @property
    def tokens(self) -> int:
        """Estimated tokens."""
        return estimate_tokens(self.system) + estimate_tokens(self.stable) + estimate_tokens(self.text)


def estimate_tokens(text: str) -> int:
    """Tokens of a text by its length; within a third of the truth for code and English."""
    return math.ceil(len(text) / CHARS_PER_TOKEN)


def assemble(template: str, opening: str, sections: Sequence[Section], total: int, **schema: Any) -> Prompt:
    """Cut each section to its budget, leave out sections until all fits into `total` tokens, and join them in order.

    Args:
        template: name and version.
        opening: first text of the system prompt, never cut.
        sections: in order within their place; empty ones vanish.
        total: most tokens of the prompt; what is never left out may exceed it.
        schema: `schema_name` and `output_schema` of the prompt.
    """
    present = [section for section in sections if section.text.strip()]
    fitted = [(section, fit(section)) for section in present]
    short = [section.name for section, text in fitted if text != section.text.strip("\n")]
    kept = _within(fitted, total - estimate_tokens(opening))
    gone = [section.name for section in present if section.name not in {kept_one.name for kept_one, _ in kept}]
    return Prompt(
        template=template,
        system="\n\n".join([opening, *_place(kept, "system")]),
        stable="".join(f"{text}\n\n" for text in _place(kept, "stable")),
        text="\n\n".join(_place(kept, "own")),
        shortened=tuple(name for name in dict.fromkeys([*short, *gone])),
        **schema,
    )


def fit(section: Section) -> str:
    """A section's text within its budget, cut at line ends, with a line that says how much is missing."""
    text = section.text.strip("\n")
    room = section.budget * CHARS_PER_TOKEN
    if len(text) <= room:
        return text
    lines = [line if len(line) <= room // 2 else line[: room // 2] + " [...]" for line in text.split("\n")]
    head, tail = _keep(lines, room, middle=section.middle)
    missing = len(lines) - len(head) - len(tail)
    return "\n".join([*head, f"[... {missing} lines left out ...]", *tail])


def _keep(lines: list[str], room: int, *, middle: bool) -> tuple[list[str], list[str]]:
    """Lines from the start, and with `middle` a third of the room for lines from the end."""
    tail = list(reversed(_first(list(reversed(lines)), room // 3))) if middle else []
    used = sum(len(line) + 1 for line in tail)
    return _first(lines[: len(lines) - len(tail)], room - used), tail


def _first(lines: list[str], room: int) -> list[str]:
    kept = []
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            break
        kept.append(line)
    return kept


def _within(fitted: list[tuple[Section, str]], total: int) -> list[tuple[Section, str]]:
    leaving = sorted((section.cut, n) for n, (section, _) in enumerate(fitted) if section.cut)
    gone: set[int] = set()
    while sum(_cost(section, text) for n, (section, text) in enumerate(fitted) if n not in gone) > total and leaving:
        gone.add(leaving.pop(0)[1])
    return [pair for n, pair in enumerate(fitted) if n not in gone]


def _cost(section: Section, text: str) -> int:
    return estimate_tokens(f"## {section.name}\n{text}\n\n")


def _place(kept: list[tuple[Section, str]], place: Place) -> list[str]:
    return [f"## {section.name}\n{text}" for section, text in kept if section.place == place]


def code(source: str, language: str = "python") -> str:
    """A text as a fenced block, with a fence longer than any in it."""
    marks = "```"
    while marks in source:
        marks += "`"
    return f"{marks}{language}\n{source.strip(chr(10))}\n{marks}"
