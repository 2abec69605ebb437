"""Put what ended a run of Snakemake into one line: what, where, and what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kopt.errors import REMEDIES
from kopt.neutral import one_line

AGAIN = "then run the same command again"
SUMMARY = "At least one job did not complete successfully"
"""Begin of the error with which Snakemake ends after errors that it has told before."""
TAIL_BYTES = 16 << 10
"""Bytes of the end of a log that are searched for the reason of a failure."""
LONGEST = 600
"""Most characters that are quoted from Snakemake."""

ADVICE = {
    "LockException": (
        "the folder is locked: another snakemake works on this run, or one was killed. Wait for the other one; if "
        "there is none, run this command once with --unlock (for make demo: make unlock), then again"
    ),
    "MissingRuleException": "{text}: words that set something belong after --config, as in --config problem=softmax",
    "UnknownRuleException": "{text}: words that set something belong after --config, as in --config problem=softmax",
    "MissingInputException": (
        "{text}: a file of the run is gone; delete the run's folder and run again, results come back from the store"
    ),
    "IncompleteFilesException": "{text}: run the same command with --rerun-incomplete",
    "ApiError": "{text}",
    "CliException": "{text}",
    "ValueError": "{text}",
    "FileNotFoundError": "{text}: check the names of files in the command",
}
"""Lines by the class of Snakemake's exception; of `{text}` see `_text`."""


@dataclass(frozen=True)
class JobFault:
    """A job that failed."""

    rule: str
    log: str
    """Path of its log; empty if it has none."""
    remote: bool
    """Whether it ran elsewhere, so that what it printed did not reach this terminal."""


@dataclass
class Seen:
    """What Snakemake has reported of a run so far."""

    faults: list[JobFault] = field(default_factory=list)
    errors: list[tuple[str, str]] = field(default_factory=list)
    """Errors of Snakemake itself: name of the exception's class, and text."""
    others: list[str] = field(default_factory=list)
    """Other messages of errors."""
    stopped: bool = False
    """Whether the user stopped the run."""


def ending(seen: Seen) -> str:
    """Return the line on which a run ends; empty for one that went well."""
    if seen.stopped:
        return f"kopt: stopped by Ctrl-C; finished results are kept, {AGAIN.removeprefix('then ')} to go on"
    errors = [(kind, text) for kind, text in seen.errors if SUMMARY not in text]
    if seen.faults:
        return f"kopt: error: {_of_jobs(seen.faults)}"
    if errors:
        return f"kopt: error: {_of_snakemake(*errors[0])}"
    if seen.errors or seen.others:
        text = (seen.others or [text for _, text in seen.errors])[0]
        return f"kopt: error: {_quoted(text)}; --logger-kopt-full shows all that Snakemake says"
    return ""


def _of_jobs(faults: Sequence[JobFault]) -> str:
    first = faults[0]
    others = f" and {len(faults) - 1} more" if faults[1:] else ""
    reason = _last_error(Path(first.log)) if first.log else ""
    if reason:
        reason = f": {reason}" if first.remote else ""
    else:
        reason = ": its log names no error, as when a disk is full (see above), memory is short or it was killed"
    log = f" (log: {first.log})" if first.log else ""
    return one_line(f"the search stopped in rule {first.rule}{others}{log}{reason}; mend that, {AGAIN}", 4 * LONGEST)


def _last_error(log: Path) -> str:
    """Return the error that a job's log ends with; empty if it names none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    marked = [line.partition("kopt: error: ")[2] for line in lines if "kopt: error: " in line]
    return marked[-1] if marked else ""


def _of_snakemake(kind: str, text: str) -> str:
    if match := re.search(r"(?s)older modification time.*than input (\S+) \(([^)]*)\)", text):
        return (
            f"{one_line(match[1], LONGEST)} is dated {match[2]}, after what was made from it: the clock went back. "
            "Run the same command again: dates in the future are set right first"
        )
    if match := re.search(r"\[Errno (\d+)\] ([^\n)]*)", text):
        remedy = REMEDIES.get(int(match[1]), "mend that")
        return f"{one_line(match[2], LONGEST)}: {remedy}, {AGAIN}"
    if kind in ADVICE:
        return ADVICE[kind].replace("{text}", _quoted(text))
    return f"{_quoted(text)}; --logger-kopt-full shows all that Snakemake says"


def _quoted(text: str) -> str:
    """Quote what matters of a message of Snakemake: no place in a Snakefile, and of a traceback its last line."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    if not lines:
        return "Snakemake failed without a reason"
    if any(line.startswith("Traceback") for line in lines):
        return one_line(lines[-1], LONGEST)
    if len(lines) > 1 and re.match(r"^\w+(Error|Exception)\b.*:$", lines[0]):
        lines = lines[1:]
    return one_line(" ".join(lines), LONGEST).removeprefix("Error: ").rstrip(".")
