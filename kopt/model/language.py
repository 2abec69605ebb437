"""The languages in which kernels are written, with what the screen and the judges must know of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

Language = Literal["triton"]


class LanguageFacts(NamedTuple):
    """What depends on a kernel's language before it is traced and in what a proposer reads."""

    title: str
    """The language's name in messages."""
    packages: frozenset[str]
    """Python packages that a kernel may import for this language, beside those that any kernel may import."""


LANGUAGES: Mapping[Language, LanguageFacts] = {"triton": LanguageFacts("Triton", frozenset({"triton"}))}
"""The one place where a language's facts are listed; how it is compiled and interpreted is up to `kopt.device`."""
