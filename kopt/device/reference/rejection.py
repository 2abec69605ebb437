"""Carry a candidate's failure out of the code that found it, and word it for the proposer.

Inside the process that runs a candidate a failure is the exception `Rejected`; outside it is data (`BuildFailed`,
`Failed`).
"""

from __future__ import annotations

import re
import traceback
from pathlib import Path

from kopt.model.build import Phase
from kopt.model.language import LANGUAGES, Language
from kopt.model.problem import Workload, WorkloadKind, workload_title
from kopt.neutral import visible

REASON_CHARS = 1500
"""Length to which reasons are cut."""
READ_CHARS = 100_000
"""Length to which a candidate's message is cut before it is read."""

SIZES_CHARS = 200
"""Length to which the constants of a workload are cut."""

SOURCE_NAME = "candidate.py"
"""File name under which every candidate is written, so that no message depends on its folder."""


class Rejected(Exception):
    """A candidate breaks the rules or fails.  The exception never leaves the process that runs the candidate."""

    def __init__(self, phase: Phase, reason: str) -> None:
        super().__init__(f"{phase.value}: {reason}")
        self.phase = phase
        self.reason = bounded(reason)


def bounded(text: str) -> str:
    """Cut a text to `REASON_CHARS` characters: its head, and its tail, where the point of an error mostly is.

    Lone surrogates, which a candidate's message may hold and no file can, are replaced, and so are characters that
    nobody sees (`kopt.neutral.visible`).
    """
    text = cut(text.encode(errors="replace").decode(), READ_CHARS)
    return cut(visible(text).strip(), REASON_CHARS)


def cut(text: str, length: int) -> str:
    """Cut a text to a length in characters: its head, and its tail."""
    if len(text) <= length:
        return text
    head = length // 3
    return f"{text[:head].rstrip()}\n[...]\n{text[len(text) - (length - head - 8) :].lstrip()}"


def describe(error: BaseException, folder: Path) -> str:
    """Describe an error and its line in the candidate, in words that do not depend on place and time.

    Paths, addresses and process ids are left out.

    Args:
        error: the candidate's exception, with its causes.
        folder: the folder of the candidate's file.
    """
    chain = [_describe_one(cause, folder) for cause in _causes(error)]
    return bounded("\ncaused by ".join(dict.fromkeys(part for part in chain if part)))


def _causes(error: BaseException) -> list[BaseException]:
    """Return an exception and the causes that it was raised from."""
    causes: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in causes:
        causes.append(link)
        link = link.__cause__
    return causes


def _describe_one(error: BaseException, folder: Path) -> str:
    message = neutral(cut(str(error), READ_CHARS), folder)
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(str(folder))]
    text = f"{type(error).__name__}: {message}" if message else type(error).__name__
    if not lines:
        return text
    where = lines[-1]
    return f"{text}\n  at {SOURCE_NAME}:{where.lineno} in {where.name}: {(where.line or '').strip()}"


def neutral(text: str, folder: Path) -> str:
    """Leave out of a text the scratch folder, directories, and names that differ from run to run."""
    text = text.replace(f"{folder}/", "").replace(str(folder), ".")
    text = re.sub(r"/\S*?/(?:site-packages|dist-packages)/", "", text)
    text = re.sub(r"(?<![\w.])/(?:[\w.+@-]+/)+", "", text)
    text = re.sub(r"\b0x[0-9a-fA-F]{6,}\b", "0x?", text)
    text = re.sub(r"\btmp[a-z0-9_]{8}\b", "tmp?", text)
    return re.sub(r"\bpid[ =:]\d+", "pid ?", text)


def on_workload(workload: Workload, reason: str, kind: WorkloadKind) -> str:
    """Say on which workload a candidate failed, in front of the reason.

    `small workload ragged (verified only; B=2, H=3): ...`.

    Args:
        workload: the workload.
        reason: reason of the failure.
        kind: kind of the workload; the sizes of a hidden one are not told.
    """
    sizes = ", ".join(f"{name}={value}" for name, value in workload.constants.items())
    if kind == "hidden":
        sizes = "its sizes are hidden"
    elif len(sizes) > SIZES_CHARS:
        sizes = f"{sizes[:SIZES_CHARS]}..."
    facts = "; ".join(filter(None, ("" if kind == "timed" else "verified only", sizes)))
    return f"{workload_title(workload.name, kind)}{f' ({facts})' if facts else ''}: {reason}"


def no_launch_reason(language: Language) -> str:
    """Write the rejection of an entry point that launches no kernel."""
    return f"the entry point launches no {LANGUAGES[language].title} kernel"


def address_reason(argument: object) -> str:
    """Write the rejection of a number among a kernel's arguments that is the address of a tensor."""
    return f"argument {argument} is a tensor's address as a number: pass the tensor"


def torch_computes_reason(operation: object, language: Language) -> str:
    """Write the rejection of a torch operation that does the work of a kernel."""
    return f"torch computes with a device tensor: {operation}; the {LANGUAGES[language].title} kernel is to do that"


def right_ghost_reason(language: Language) -> str:
    """Write the rejection of a kernel whose output is right in the ghost call."""
    kernel = f"the {LANGUAGES[language].title} kernel"
    return f"with every kernel launch left out the output is still right: {kernel} does not make it"
