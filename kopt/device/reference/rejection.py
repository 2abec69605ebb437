"""A candidate's failure on its way out of the code that found it, and its text for the proposer.

Inside the process that runs a candidate a failure travels as `Rejected`; outside it is data (`BuildFailed`, `Failed`).
"""

from __future__ import annotations

import re
import traceback
from pathlib import Path

from kopt.model.build import Phase

REASON_CHARS = 1500
"""Longest reason that is handed on."""

SOURCE_NAME = "candidate.py"
"""File name under which every candidate is written, so that no message depends on where it lay."""


class Rejected(Exception):
    """A candidate breaks the rules or fails; never leaves the process that runs the candidate."""

    def __init__(self, phase: Phase, reason: str) -> None:
        super().__init__(f"{phase.value}: {reason}")
        self.phase = phase
        self.reason = bounded(reason)


def bounded(text: str) -> str:
    """At most `REASON_CHARS` characters: the head, and the tail where the point of an error mostly is.

    Lone surrogates, which a candidate's message may hold and no file can, are replaced.
    """
    text = text.encode(errors="replace").decode().strip()
    if len(text) <= REASON_CHARS:
        return text
    head = REASON_CHARS // 3
    return f"{text[:head].rstrip()}\n[...]\n{text[len(text) - (REASON_CHARS - head - 8) :].lstrip()}"


def describe(error: BaseException, folder: Path) -> str:
    """What happened and on which line of the candidate, the same wherever and whenever it happens.

    Paths, addresses and process ids are taken out.
    """
    chain = [_one(cause, folder) for cause in _causes(error)]
    return bounded("\ncaused by ".join(dict.fromkeys(part for part in chain if part)))


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in found:
        found.append(link)
        link = link.__cause__
    return found


def _one(error: BaseException, folder: Path) -> str:
    message = neutral(str(error), folder)
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(str(folder))]
    text = f"{type(error).__name__}: {message}" if message else type(error).__name__
    if not lines:
        return text
    where = lines[-1]
    return f"{text}\n  at {SOURCE_NAME}:{where.lineno} in {where.name}: {(where.line or '').strip()}"


def neutral(text: str, folder: Path) -> str:
    """`text` without the scratch folder, directories, and names that are drawn anew each time."""
    text = text.replace(f"{folder}/", "").replace(str(folder), ".")
    text = re.sub(r"/\S*?/(?:site-packages|dist-packages)/", "", text)
    text = re.sub(r"(?<![\w.])/(?:[\w.+@-]+/)+", "", text)
    text = re.sub(r"\b0x[0-9a-fA-F]{6,}\b", "0x?", text)
    text = re.sub(r"\btmp[a-z0-9_]{8}\b", "tmp?", text)
    return re.sub(r"\bpid[ =:]\d+", "pid ?", text)
