"""Write what is known of a kernel for a terminal; foreign text stands on single lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kopt.neutral import one_line
from kopt.report.numbers import closeness, percent, time_text
from kopt.report.outcomes import MEANING, kind_of, phase_words
from kopt.report.round_line import label
from kopt.view.asked import Asked
from kopt.view.kernel import KernelView, LaunchView, WorkloadTime

WIDTH = 14
SHOWN_KINDS = 8
"""Kinds of instructions that are listed, the most frequent ones."""
NOT_KINDS = ("total", "loop_total", "guarded")
"""Counts of a mix that are no kinds; nor are those that begin with `loop_`."""


def kernel_lines(view: KernelView) -> list[str]:
    """Describe a kernel: source, origin, techniques, verdict, launches, times."""
    return [f"{name:<{WIDTH}} {text}".rstrip() for name, text in _rows(view)]


def _rows(view: KernelView) -> Iterator[tuple[str, str]]:
    yield "kernel", " ".join(dict.fromkeys(filter(None, (view.name, one_line(view.label, 200))))) + _digest(view)
    yield from _origin(view)
    yield "source", _source(view)
    if view.verdict in ("passed", "duplicate", "incorrect", "failed") or view.evidence:
        yield "techniques", ", ".join(view.techniques) or "none of the taxonomy"
    for evidence in view.evidence:
        yield "", f"{evidence.technique}: {evidence.where} {one_line(evidence.what, 100)}"
    yield from _verdict(view)
    yield from launch_rows(view.launches)
    for kernel, counts in view.instructions.items():
        yield "instructions", f"{kernel}: {_counts(counts)}"
    yield from time_rows(view)
    if view.note:
        yield "note", view.note


def _digest(view: KernelView) -> str:
    digest = view.facts.digest if view.facts else view.trial.kernel if view.trial else ""
    return f", digest {digest[:12]}" if digest else ""


def _origin(view: KernelView) -> Iterator[tuple[str, str]]:
    if view.trial is None:
        return
    trial = view.trial
    parent = f" from {view.parent}" if view.parent else ""
    cost = f", ${trial.cost_usd:.4f}" if trial.cost_usd else ""
    yield "proposer", f"{one_line(trial.model)}{parent}{cost}"
    if trial.description:
        yield "in its words" if trial.parent else "origin", one_line(trial.description)
        if view.contradicted:
            yield "", f"the build says otherwise: {'; '.join(view.contradicted)}"
    if view.siblings:
        yield "same source", ", ".join(view.siblings)
    if trial.duplicate_of:
        yield "duplicate", f"of {trial.duplicate_of}: the same compiled code and source, names and comments aside"
    if trial.selected_rank is not None:
        yield "selected", f"as a parent, rank {trial.selected_rank + 1} of round {trial.round}"


def _source(view: KernelView) -> str:
    if view.facts is None:
        return "no Python" if view.source else "none"
    names = ", ".join(view.facts.kernels) or "no Triton kernel"
    tuned = ", autotuned" if view.facts.autotuned else ""
    order = ", atomics: sums end in any order" if view.facts.atomics else ", sums in a fixed order"
    return f"{view.facts.lines} lines, {names}{tuned}{order}"


def _verdict(view: KernelView) -> Iterator[tuple[str, str]]:
    phase = f": {phase_words(view.phase)} ({MEANING.get(view.phase, '')})" if view.phase else ""
    shared = (
        f" of {view.trial.duplicate_of}: {kind_of(view.trial).words}" if view.trial and view.trial.duplicate_of else ""
    )
    yield "verdict", f"{view.verdict}{shared or phase}"
    for line in view.reason.splitlines():
        yield "", one_line(line)
    if view.checks:
        yield "", checked(view)


def checked(view: KernelView) -> str:
    """Describe the comparisons of a verdict."""
    workloads = dict.fromkeys(view.titles.get(check.workload, check.workload) for check in view.checks)
    inputs = dict.fromkeys(check.distribution for check in view.checks)
    return (
        f"{len(view.checks)} comparisons with the reference in float64 on {', '.join(workloads)}; "
        f"inputs {', '.join(inputs)}; {closeness(view.checks)}"
    )


def launch_rows(launches: Sequence[LaunchView]) -> Iterator[tuple[str, str]]:
    """Describe launches, a row each."""
    for launch in launches:
        occupied = f", occupancy {launch.occupancy:.0%}" if launch.occupancy is not None else ""
        cluster = f", {launch.ctas} blocks a cluster" if launch.ctas > 1 else ""
        yield (
            "launch",
            (
                f"{launch.workload}: {launch.kernel} grid {'x'.join(map(str, launch.grid))}, {launch.warps} warps, "
                f"{launch.stages} stages{cluster}, {launch.registers} registers, {launch.shared_bytes} B shared, "
                f"{launch.spill_bytes} B spilled{occupied}{' (tried by an autotuner)' if launch.trial else ''}"
            ),
        )


def asked_lines(asked: Asked | None) -> list[str]:
    """Describe the exchange with a language model that a kernel came from."""
    if asked is None:
        return []
    shown = [name for name, text in (("--prompt", asked.prompt), ("--reply", asked.reply)) if text]
    template = f"template {asked.template}, prompt of {len(asked.prompt)} characters" if asked.prompt else ""
    reply = f"reply of {len(asked.reply)} characters" if asked.reply else ""
    hint = f"{' and '.join(shown)} print{'s' if len(shown) == 1 else ''} it" if shown else ""
    text = "; ".join(filter(None, (template, reply, one_line(asked.note), hint)))
    return [f"{'asked':<{WIDTH}} {one_line(asked.model, 80)}: {text}"]


def _counts(counts: dict[str, int]) -> str:
    kinds = {name: n for name, n in counts.items() if name not in NOT_KINDS and not name.startswith("loop_")}
    most = sorted(kinds, key=lambda name: (-kinds[name], name))[:SHOWN_KINDS]
    in_loops = f", {counts['loop_total']} of them in loops" if counts.get("loop_total") else ""
    return f"{counts.get('total', 0)} of PTX{in_loops}: {', '.join(f'{kinds[name]} {name}' for name in most)}"


def time_rows(view: KernelView) -> Iterator[tuple[str, str]]:
    """Describe times: the objective, and each workload."""
    if view.ms is not None:
        low_high = f" [{view.interval[0]:.4f}, {view.interval[1]:.4f}]" if view.interval else ""
        share = f", {percent(view.roofline_share)} of the roofline" if view.roofline_share is not None else ""
        yield "time", f"{time_text(view.ms, view.estimated)}{low_high}{share}"
    for one in view.times:
        for text in workload_texts(one, view.estimated):
            yield "", text


def workload_texts(one: WorkloadTime, estimated: bool, most: int | None = None) -> list[str]:
    """Describe the time on one workload: in a line, and below it a line for each cause that slows the kernel down.

    Args:
        one: the time.
        estimated: whether it is an estimate.
        most: most causes that are told; None for all.
    """
    low_high = f" [{one.low_ms:.4f}, {one.high_ms:.4f}]" if one.low_ms is not None and one.high_ms is not None else ""
    share = f"{percent(one.roofline_share)} of the roofline ({time_text(one.floor_ms, False)})"
    bound = f", {one.bound} bound{label(estimated)}" if one.bound else ""
    left_out = len(one.notes[most:]) if most is not None else 0
    more = [f"  and {left_out} more (kopt show RUN best lists them)"] if left_out else []
    told = [f"  {note}" for note in one.notes[:most]]
    return [f"{one.workload}: {time_text(one.ms, estimated)}{low_high}, {share}{bound}", *told, *more]
