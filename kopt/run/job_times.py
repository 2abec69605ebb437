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

from kopt.artifact import read_plain
from kopt.errors import CorruptArtifact
from kopt.report.details import JobSpan
from kopt.report.rows import JUDGING
from kopt.run.started import started

METADATA = Path(".snakemake/metadata")
LAST = "finish"
"""The rule that shows the times; its own jobs are left out, so that a second one shows the same."""
ALSO_HOLDING = ("device",)
"""Rules whose jobs hold a GPU, where kernels are measured, beside those that judge."""


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
    record = started(folder)
    places = [*([Path(record.folder)] if record else []), *folder.parents]
    start = next((place for place in places if (place / METADATA).is_dir()), None)
    if start is None:
        return
    for file in sorted((start / METADATA).rglob("*")):
        name = _decoded("".join(part.removeprefix("@") for part in file.relative_to(start / METADATA).parts))
        path = start / name  # a file outside of the folder has an absolute name
        if name and path.is_relative_to(folder) and file.is_file():
            try:
                record = json.loads(read_plain(file))
            except (OSError, ValueError, CorruptArtifact):
                continue
            if isinstance(record, dict):
                yield f"{path.relative_to(folder)}", record


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
        gpu=measures and rule.startswith((*JUDGING, *ALSO_HOLDING)),
    )  # fmt: skip


def _number(word: str, path: str) -> int | None:
    found = re.search(rf"\b{word}_(\d+)/", path)
    return int(found.group(1)) if found else None
