"""Read when the jobs of a run worked, from the records that Snakemake keeps of the files that they made.

Snakemake writes a record for each file below `.snakemake/metadata`, in the folder where it was started, under the
file's path in base64.  A run whose folder was copied alone has no records.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from pathlib import Path

from kopt.report.details import JobSpan

METADATA = Path(".snakemake/metadata")
LAST = "finish"
"""The rule that shows the times; its own jobs are left out, so that a second one shows the same."""
HOLDING = ("evaluate", "rank", "baseline", "outcome", "profile", "device")
"""Rules whose jobs hold a GPU where kernels are measured."""


def job_spans(folder: Path, *, measures: bool) -> tuple[JobSpan, ...]:
    """Return the last job of a run that made each of its files, in order of their begin; empty where none is recorded.

    Args:
        folder: the run's folder.
        measures: whether kernels are measured on a GPU.
    """
    spans: dict[tuple[object, ...], JobSpan] = {}  # a job with several files has a record, and an end, for each
    for path, record in _records(folder.resolve()):
        span = _span(path, record, measures)
        if span is not None and span.rule != LAST:
            key = (span.rule, span.round, span.attempt, span.began)
            if key not in spans or span.ended > spans[key].ended:
                spans[key] = span
    return tuple(sorted(spans.values(), key=lambda span: (span.began, span.ended, span.rule)))


def _records(folder: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield the path below the run's folder, and the record, of each of its files."""
    start = next((parent for parent in folder.parents if (parent / METADATA).is_dir()), None)
    if start is None:
        return
    below = f"{folder.relative_to(start)}/"
    for file in sorted((start / METADATA).rglob("*")):
        name = _decoded("".join(part.removeprefix("@") for part in file.relative_to(start / METADATA).parts))
        if name.startswith(below) and file.is_file():
            try:
                record = json.loads(file.read_bytes())
            except (OSError, ValueError):
                continue
            if isinstance(record, dict):
                yield name.removeprefix(below), record


def _decoded(name: str) -> str:
    try:
        return base64.b64decode(name, altchars=b"+-").decode()
    except (binascii.Error, ValueError):
        return ""


def _span(path: str, record: dict[str, object], measures: bool) -> JobSpan | None:
    rule, began, ended = (record.get(name) for name in ("rule", "starttime", "endtime"))
    if not isinstance(rule, str) or not isinstance(began, float) or not isinstance(ended, float) or ended < began:
        return None
    return JobSpan(
        rule=rule, round=_number("round", path), attempt=_number("attempt", path), began=began, ended=ended,
        gpu=measures and rule.startswith(HOLDING),
    )  # fmt: skip


def _number(word: str, path: str) -> int | None:
    found = re.search(rf"\b{word}_(\d+)/", path)
    return int(found.group(1)) if found else None
