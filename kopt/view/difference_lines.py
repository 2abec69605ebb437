"""Write what differs between two kernels for a terminal, the diff of their sources aside."""

from __future__ import annotations

from collections.abc import Iterator

from kopt.neutral import one_line
from kopt.report.numbers import Time, ratio, time_text, unsure
from kopt.report.outcomes import phase_words
from kopt.report.reasons import short_reason
from kopt.report.round_line import label
from kopt.view.compare import Difference, TimeDifference
from kopt.view.kernel import KernelView
from kopt.view.kernel_lines import WIDTH, launch_rows


def difference_lines(found: Difference) -> list[str]:
    """Describe the differences: launches, registers, shared memory, instructions, techniques, times."""
    return [f"{name:<{WIDTH}} {text}".rstrip() for name, text in _rows(found)]


def _rows(found: Difference) -> Iterator[tuple[str, str]]:
    yield "from", _kernel(found.before)
    yield "to", _kernel(found.after)
    if not found.diff:
        yield "source", "the sources are equal"
    if not found.apart:
        yield from _of_one_problem(found)
    changed = [f"+{name}" for name in found.added] + [f"-{name}" for name in found.removed]
    if found.before.techniques or found.after.techniques:
        yield "techniques", " ".join(changed) or "the same"
    if not found.apart:
        yield from _times(found)
    for view in (found.before, found.after):
        if view.note:
            yield "note", f"{view.label}: {view.note}"


def apart_line(found: Difference) -> str:
    """Say first of kernels of two problems what is not compared; empty for kernels of one problem."""
    if not found.apart:
        return ""
    return f"these are kernels of {one_line(found.apart)}: launches, instructions and times are not compared"


def _of_one_problem(found: Difference) -> Iterator[tuple[str, str]]:
    same = found.before.fingerprint and found.before.fingerprint == found.after.fingerprint
    yield "compiled", "to the same code and launches" if same else "to other code or launches"
    for one in found.launches:
        if one.before and one.after:
            words = ", ".join(f"{change.name} {change.before} -> {change.after}" for change in one.changed)
            yield "launch", f"{one.workload}: {one.after.kernel}: {words or 'as before'}"
        elif launch := one.before or one.after:
            ((_, text),) = launch_rows([launch])
            yield "launch", f"{'only before' if one.before else 'only after'}: {text}"
    for place, kind in enumerate(found.instructions):
        in_loops = f" (in loops {kind.before_in_loops} -> {kind.after_in_loops})"
        looped = in_loops if kind.before_in_loops or kind.after_in_loops else ""
        yield "" if place else "instructions", f"{kind.kind} {kind.before} -> {kind.after}{looped}"


def _times(found: Difference) -> Iterator[tuple[str, str]]:
    for time in found.times:
        yield "time", _time(time, found)
    before, after = found.before.time, found.after.time
    if before and after and len(found.times) != 1:
        texts = (time_text(one.ms, one.estimated) for one in (before, after))
        gain = f"{ratio(before.ms / after.ms)}{_label(found)}{_unsure(before, after)}"
        yield "objective", f"{' -> '.join(texts)}, {gain}"


def _kernel(view: KernelView) -> str:
    names = " ".join(dict.fromkeys(filter(None, (view.label, view.name))))
    why = f", {phase_words(view.phase)}: {short_reason(view.reason, 160)}" if view.phase else ""
    return f"{one_line(names, 200)}, {view.verdict}{why}"


def _label(found: Difference) -> str:
    return label(found.before.estimated or found.after.estimated)


def _unsure(before: Time, after: Time) -> str:
    why = unsure(before, after) if before.ms != after.ms else ""
    return f", {why}" if why else ""


def _time(time: TimeDifference, found: Difference) -> str:
    before = time_text(time.before.ms, found.before.estimated) if time.before else "no time"
    after = time_text(time.after.ms, found.after.estimated) if time.after else "no time"
    gain = ""
    if time.before and time.after and time.ratio is not None:
        pairs = ((time.before, found.before), (time.after, found.after))
        times = (Time(one.ms, one.low_ms, one.high_ms, view.estimated) for one, view in pairs)
        gain = f", {ratio(time.ratio)}{_label(found)}{_unsure(*times)}"
    return f"{time.workload}: {before} -> {after}{gain}"
