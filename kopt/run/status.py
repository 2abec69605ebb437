"""Work out how far a run is, from its files alone."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from kopt.artifact import MOST_BYTES, plain_file, read_plain
from kopt.errors import CorruptArtifact
from kopt.estimate.eager import eager_ms
from kopt.jobs.asker import LEDGER
from kopt.llm.ledger import cost_of, ledger_lines
from kopt.locks import LEASE
from kopt.model.cost import Cost, total
from kopt.model.outcome import BEST, SEED
from kopt.model.trial import Trial
from kopt.report.outcomes import failures
from kopt.report.status import BestSoFar, RoundCounts, RunStatus
from kopt.report.tables import correct_trials
from kopt.roofline import ample_ms
from kopt.run.layout import MANIFEST, PHASES
from kopt.run.so_far import RunSoFar
from kopt.run.started import STARTED, WORKING

QUIET_S = 600.0
"""Age of the newest file up to which a run counts as going on, where that cannot be known, s."""
FIRST_STEPS, FIRST_S = 4, 10.0
"""Steps, and seconds, after which the time that is left is known roughly."""
TAIL_BYTES = 16 << 10
"""Bytes of the end of a log that are searched for an error."""
ERROR = "kopt: error: "
LOCKS = Path(".snakemake/locks")
"""Where Snakemake keeps its locks, below the folder in which it was started."""


def status_of(run: RunSoFar, now: float | None = None) -> RunStatus:
    """Work out how far a run is.

    Args:
        run: the run as its files stand.
        now: the time, seconds since 1970; None: this moment.
    """
    now = time.time() if now is None else now
    settings, step, record = run.settings, run.next_step, run.started
    changed = _last_change(run.folder)
    working = run.working if run.working is not None else not run.finished and now - changed < QUIET_S
    log, error = ("", "") if working else _error(run.folder, record.moment if record else 0.0)
    state = "going on" if working else "finished" if run.finished else "failed" if error else "stopped"
    return RunStatus(
        run=run.folder.resolve().name,
        folder=str(run.folder),
        problem=run.config.problem,
        preset=run.config.preset,
        proposers=settings.proposers,
        judge=settings.backend,
        device=run.device.name if run.device else "",
        state=state,
        known=run.working is not None or run.finished,
        host=record.host if record else "",
        round=step.round if step else run.config.rounds,
        rounds=run.config.rounds,
        attempt=step.attempt if step else 0,
        phase=step.name if step else "",
        doing=PHASES[step.name] if step else "",
        chunks=(sum(file.exists() for file in step.files), len(step.files)) if step else (0, 0),
        steps_done=len(run.done),
        steps=len(run.steps),
        counts=_counts(run),
        best=_best(run),
        baselines=_baselines(run),
        stopped_early=next((round.summary.stopped for round in run.rounds if round.summary.stopped), None),
        cost=_cost(run.folder),
        budget_usd=run.config.budget_usd if settings.asked_models else None,
        began=record.moment if record else None,
        seconds=_seconds(run, now if working else changed),
        left_seconds=_left(run, now) if working else None,
        quiet_seconds=max(now - changed, 0.0),
        error=error if state == "failed" else "",
        log=log if state == "failed" else "",
        command=record.again(Path.cwd()) if record and state in ("stopped", "failed") else "",
        locked=not working and record is not None and _is_locked(Path(record.folder), run.folder),
    )


def left_s(seconds: float, steps: int, left: int) -> float | None:
    """Estimate the time that steps will take, s; None before enough is known.

    Args:
        seconds: a time, s.
        steps: the steps that were done in it.
        left: the steps that are left.
    """
    return seconds / steps * left if steps >= FIRST_STEPS and seconds >= FIRST_S else None


def _left(run: RunSoFar, now: float) -> float | None:
    if run.started is None:
        return None
    since = run.started.moment
    new = sum(max(map(_written, step.files), default=0.0) >= since for step in run.done)
    return left_s(now - since, new, len(run.steps) - len(run.done))


def _counts(run: RunSoFar) -> tuple[RoundCounts, ...]:
    summaries = {round.summary.round: round.summary for round in run.rounds}
    begun = [run.begun.round] if run.begun and run.begun.slots else []
    rows = []
    for number in [*summaries, *begun]:
        if number:
            trials = [trial for trial in run.trials if trial.round == number]
            summary = summaries.get(number)
            used = sum(not slot.skipped for slot in run.begun.slots) if run.begun else 0
            rows.append(
                RoundCounts(
                    round=number,
                    complete=summary is not None,
                    slots=summary.slots if summary else used,
                    proposed=sum(t.status == "proposed" for t in trials),
                    built=sum(bool(t.fingerprint) or t.verdict in ("passed", "incorrect") for t in trials),
                    duplicates=sum(t.verdict == "duplicate" for t in trials),
                    judged=sum(t.verdict != "none" for t in trials),
                    passed=len({t.slot for t in trials if t.verdict == "passed"}),
                    repaired=len({t.slot for t in trials if t.verdict == "passed" and t.attempt}),
                    failures={one.kind: one.number for one in failures(trials)},
                    best_ms=summary.best_ms if summary else None,
                )
            )
    return tuple(rows)


def _best(run: RunSoFar) -> BestSoFar | None:
    """Return the last round's best kernel, or a faster one of the round that goes on."""
    if not run.rounds:
        return None
    ample = ample_ms(run.facts, run.device) if run.facts and run.device else 0.0
    last, named = run.rounds[-1].summary, {trial.name: trial for trial in run.trials}
    chosen = named[run.outcome.best.origin if run.outcome else last.best_origin]
    new = [trial for trial in correct_trials(run.trials) if trial.round > last.round]
    if new and new[0].time_ms is not None and new[0].time_ms < last.best_ms:
        return _of_trial(new[0], last.seed_ms, ample)
    selected = next((row for row in run.rounds[-1].selection if row.origin == chosen.name), None)
    seed_ms, ms, share = last.seed_ms, last.best_ms, last.roofline_share
    interval = (selected.low_ms, selected.high_ms) if selected else (chosen.low_ms, chosen.high_ms)
    if run.outcome:
        timings = run.outcome.finals.timings
        ms, share, interval = timings[BEST].objective_ms, timings[BEST].roofline_share, timings[BEST].interval_ms
        seed_ms = timings[SEED].objective_ms if SEED in timings else seed_ms
    low, high = interval
    return BestSoFar(
        name=chosen.name, model=chosen.model, description=chosen.description, ms=ms,
        interval=(low, high) if low is not None and high is not None else None,
        estimated=last.estimated and run.outcome is None, roofline_share=share, seed_ms=seed_ms, selected=True,
        ample_ms=ample,
    )  # fmt: skip


def _of_trial(trial: Trial, seed_ms: float, ample: float) -> BestSoFar:
    assert trial.time_ms is not None
    assert trial.roofline_share is not None
    return BestSoFar(
        name=trial.name, model=trial.model, description=trial.description, ms=trial.time_ms,
        interval=(trial.low_ms, trial.high_ms) if trial.low_ms is not None and trial.high_ms is not None else None,
        estimated=bool(trial.estimated), roofline_share=trial.roofline_share, seed_ms=seed_ms, selected=False,
        ample_ms=ample,
    )  # fmt: skip


def _baselines(run: RunSoFar) -> dict[str, float]:
    measured = run.outcome.finals if run.outcome else run.baseline
    if measured:
        return {name: one.objective_ms for name, one in measured.timings.items() if name not in (BEST, SEED)}
    if run.settings.measures or not run.facts or not run.device:
        return {}
    estimated = eager_ms(run.facts, run.device)
    return {"eager": estimated} if estimated else {}


def _cost(folder: Path) -> Cost | None:
    lines = ledger_lines(folder / LEDGER)
    return total(map(cost_of, lines)) if lines else None


def _seconds(run: RunSoFar, until: float) -> float | None:
    """Return the time from the last start to a moment; None where the files were dated anew, as by a copy."""
    return until - run.started.moment if run.started and until >= run.started.moment else None


def _last_change(folder: Path) -> float:
    """Return when a file of the run was written last, seconds since 1970."""
    manifest = folder / MANIFEST
    own = {STARTED, WORKING, WORKING + LEASE}
    times = [_written(path) for path in _files(folder) if path.name not in own]
    return max([*times, _written(manifest), _written(folder / STARTED)])


def _files(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in names)


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _error(folder: Path, since: float) -> tuple[str, str]:
    """Return the newest log that ends with an error, and the error, of those written since a moment; empty texts."""
    logs = sorted((folder / "logs").rglob("*.log"), key=_written, reverse=True)
    for log in logs:
        if _written(log) >= since and (error := _last_error(log)):
            return str(log), error
    return "", ""


def _last_error(log: Path) -> str:
    try:
        with plain_file(log, MOST_BYTES, follow=True) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except (OSError, ValueError):
        return ""
    return next((line.partition(ERROR)[2] for line in reversed(lines) if ERROR in line), "")


def _is_locked(start: Path, folder: Path) -> bool:
    """Return whether a lock of Snakemake names a file of the run."""
    below = f"{os.path.relpath(folder.resolve(), start)}/"
    for lock in (start / LOCKS).glob("*.lock"):
        try:
            if any(line.startswith(below) for line in read_plain(lock).decode(errors="replace").splitlines()):
                return True
        except (OSError, CorruptArtifact):
            continue
    return False
