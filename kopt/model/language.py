"""List the languages in which kernels are written, with the facts that the screen and the prompts need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

Language = Literal["triton"]


class LanguageFacts(NamedTuple):
    """Facts of a kernel's language that the screen and messages to a proposer use."""

    title: str
    """The language's name in messages."""
    packages: frozenset[str]
    """Python packages that a kernel in this language may import, beside those that any kernel may import."""


LANGUAGES: Mapping[Language, LanguageFacts] = {"triton": LanguageFacts("Triton", frozenset({"triton"}))}
"""Facts of each language; `kopt.device` compiles and interprets kernels."""
