"""Write the status of a run for a terminal."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from kopt.neutral import one_line
from kopt.report.costs import dollars
from kopt.report.numbers import PYTORCH, after_repair, far_text, percent, ratio, speedup_text, time_text
from kopt.report.reasons import in_its_words
from kopt.report.round_line import STOPPED, label
from kopt.report.status import BestSoFar, RoundCounts, RunStatus

WIDTH = 14
MADE_UP = "nothing was built or judged, all times are made up"
"""Note on a dry run."""
RECORDED = "builds, verdicts, times and profiles are replayed from a recording: nothing was measured here"
"""Note on a replay of recorded measurements."""
ENDED = {"failed": "failed", "stopped": "stopped", "finished": "finished", "going on": "going on"}


def note_on(judge: str) -> str:
    """Return the note on times that this machine did not measure; empty where it measured or estimated them."""
    if judge == "recorded":
        return RECORDED
    return MADE_UP if judge.startswith("dry") else ""


def status_lines(status: RunStatus) -> list[str]:
    """Describe a run in a few lines: state, counts by round, best kernel, money, time, what to type to go on."""
    return [f"{name:<{WIDTH}} {text}".rstrip() for name, text in _rows(status)]


def overview_line(status: RunStatus) -> str:
    """Describe a run in one line, with its best kernel."""
    best = status.best
    text = f"{one_line(status.run, 60):<{WIDTH}} {headline(status)}"
    if best is None:
        return text
    return f"{text}; best {time_text(best.ms, best.estimated)}, {speedup_text(best.speedup, 'seed', best.estimated)}"


def live_line(status: RunStatus, left_s: float | None = None) -> str:
    """Describe a run that goes on in one short line: round and phase, best kernel, money, steps, time that is left."""
    done, chunks = status.chunks
    phase = f"{status.doing}{f' {done}/{chunks}' if chunks > 1 else ''}"
    parts = [f"round {min(status.round, status.rounds)}/{status.rounds}", phase]
    parts.append(f"{status.steps_done}/{status.steps} steps")
    if left_s is not None:
        parts.append(f"about {duration(left_s)} left")
    if best := status.best:
        against = f"{ratio(best.speedup)} seed"
        if baseline := status.best_baseline:
            against = f"{ratio(baseline[1] / best.ms)} {PYTORCH.get(baseline[0], baseline[0])}"
        parts.append(f"best {time_text(best.ms, False)}, {against}{label(best.estimated)}")
    if status.cost:
        parts.append(dollars(status.cost.paid_usd))
    return " · ".join(parts)


def problem_text(status: RunStatus) -> str:
    """Name problem, preset, judge and device."""
    preset = f", preset {status.preset}" if status.preset else ""
    device = f", {one_line(status.device)}" if status.device else ""
    return f"{status.problem}{preset}, judge {status.judge}{device}"


def headline(status: RunStatus) -> str:
    """Describe a run in one line."""
    parts = [ENDED[status.state]]
    if status.state == "going on" and not status.known:
        parts = [f"going on, it seems: its last file is {duration(status.quiet_seconds)} old"]
    elif status.state in ("stopped", "failed") and not status.known:
        parts.append("as it seems from the age of its files")
    if status.phase:
        parts.append(f"round {min(status.round, status.rounds)} of {status.rounds}, {_phase(status)}")
    else:
        parts.append(f"{status.rounds} round{'' if status.rounds == 1 else 's'}")
    parts.append(f"{status.steps_done} of {status.steps} steps done")
    return ", ".join(parts)


def _phase(status: RunStatus) -> str:
    doing = status.doing if status.state == "going on" else f"next: {status.doing}"
    done, chunks = status.chunks
    attempt = f" attempt {status.attempt}" if status.attempt else ""
    return f"{doing}{attempt}{f' ({done} of {chunks} parts)' if chunks > 1 else ''}"


def _rows(status: RunStatus) -> Iterator[tuple[str, str]]:
    yield one_line(status.run, 60), headline(status)
    yield "problem", f"{problem_text(status)}; proposers {', '.join(map(one_line, status.proposers))}"
    if note := note_on(status.judge):
        yield "note", note
    for counts in status.counts:
        yield f"round {counts.round}", _counts(counts, status.best.estimated if status.best else False)
    if status.best:
        yield "best so far" if status.phase else "best kernel", _best(status.best)
        if baseline := status.best_baseline:
            name, ms = baseline
            against = speedup_text(ms / status.best.ms, PYTORCH.get(name, name), status.best.estimated)
            yield "", f"{against} ({time_text(ms, status.best.estimated)})"
        if far := far_text(status.best.ms, status.best.roofline_share, status.best.ample_ms):
            yield "attention", f"the best kernel is {far}"
    if status.stopped_early:
        yield "stopped early", STOPPED[status.stopped_early]
    if status.cost:
        budget = f", budget {dollars(status.budget_usd)}" if status.budget_usd is not None else ""
        lost = f", {status.cost.lost} more in flight or lost count at their most" if status.cost.lost else ""
        known = f"; {status.cost.stored} replies were known" if status.cost.stored else ""
        yield "money", f"{dollars(status.cost.paid_usd)} in {status.cost.calls} calls{lost}{budget}{known}"
    if status.seconds is not None:
        since = "since its last start" if status.state == "going on" else "from its last start to its end"
        where = f" on {one_line(status.host, 60)}" if status.host else ""
        left = f", about {duration(status.left_seconds)} left" if status.left_seconds is not None else ""
        yield "time", f"{duration(status.seconds)} {since}{where}{left}, last file {duration(status.quiet_seconds)} ago"
    if status.error:
        yield "error", one_line(status.error)
        yield "log", one_line(status.log)
    if status.state in ("stopped", "failed"):
        if status.command and status.locked:
            yield "unlock first", f"{status.command} --unlock"
        yield "go on", status.command or "run the command again with which it was started"
    elif status.state == "finished":
        yield "look at it", f"kopt show {shlex.quote(one_line(status.folder))}"


def _counts(counts: RoundCounts, estimated: bool) -> str:
    repairs = after_repair(counts.repaired)
    words = [
        f"{counts.slots} slots: {counts.proposed} proposed (repairs included), "
        f"{counts.built} built ({counts.duplicates} duplicates), {counts.judged} judged, "
        f"{counts.passed} passed{f' ({repairs})' if repairs else ''}"
    ]
    failed = ", ".join(f"{number} {kind}" for kind, number in counts.failures.items())
    words += [f"failed: {failed}"] if failed else []
    best = f"; best {time_text(counts.best_ms, estimated)}" if counts.best_ms else ""
    return "; ".join(words) + best


def _best(best: BestSoFar) -> str:
    low_high = f" [{best.interval[0]:.4f}, {best.interval[1]:.4f}]" if best.interval else ""
    shares = f"{speedup_text(best.speedup, 'seed', best.estimated)}, {percent(best.roofline_share)} of the roofline"
    unsure = "" if best.selected else "; not yet ranked"
    text = f"{best.name} ({one_line(best.model)}) {time_text(best.ms, best.estimated)}{low_high}, {shares}{unsure}"
    return text + in_its_words(best.description, best.name, 200)


def duration(seconds: float) -> str:
    """Write a time as `12 s`, `3 min 20 s` or `2 h 5 min`."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
