"""Read when the jobs of a run worked, from the records that Snakemake keeps of the files that they made.

Snakemake writes a record for each file below `.snakemake/metadata`, in the folder where it was started, under the
file's path in base64.  A run whose folder was copied alone has no records.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping, Sequence
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


def job_spans(folder: Path, *, rounds: int, holds_gpus: bool) -> tuple[JobSpan, ...]:
    """Return the last job of a run that made each of its files, in order of their begin; empty where none is recorded.

    Args:
        folder: the run's folder.
        rounds: rounds of the run; records of later ones are of a longer search that ended here before.
        holds_gpus: whether jobs that judge and measure hold GPUs.
    """
    files: dict[tuple[object, ...], list[JobSpan]] = {}
    for path, record in _records(folder.resolve()):
        span = _span(path, record, holds_gpus)
        if span is not None and span.rule != LAST and (span.round is None or span.round <= rounds):
            files.setdefault(_job(span, record), []).append(span)
    return tuple(sorted(map(_joined, files.values()), key=lambda span: (span.began, span.ended, span.rule)))


def _job(span: JobSpan, record: Mapping[str, object]) -> tuple[object, ...]:
    """Return what the records of one job's files share and no other job's have: its log, which every rule names."""
    log = record.get("log")
    return (span.rule, *map(str, log)) if isinstance(log, list) and log else (span.rule, span.round, span.attempt)


def _joined(files: Sequence[JobSpan]) -> JobSpan:
    """Return when a job worked, of which each file has a record with a begin and an end of its own.

    A record that ended before the last one began is of an earlier job, whose file the last job did not make.
    """
    last = max(files, key=lambda span: span.ended)
    own = [span for span in files if span.ended > last.began or span == last]
    return last.model_copy(
        update={
            "began": min(span.began for span in own),
            "round": next((span.round for span in own if span.round is not None), None),
            "attempt": next((span.attempt for span in own if span.attempt is not None), None),
        }
    )


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


def _span(path: str, record: dict[str, object], holds_gpus: bool) -> JobSpan | None:
    rule, began, ended = (record.get(name) for name in ("rule", "starttime", "endtime"))
    if not isinstance(rule, str) or not isinstance(began, float) or not isinstance(ended, float) or ended < began:
        return None
    return JobSpan(
        rule=rule, round=_number("round", path), attempt=_number("attempt", path), began=began, ended=ended,
        gpu=holds_gpus and rule.startswith((*JUDGING, *ALSO_HOLDING)),
    )  # fmt: skip


def _number(word: str, path: str) -> int | None:
    found = re.search(rf"\b{word}_(\d+)/", path)
    return int(found.group(1)) if found else None
