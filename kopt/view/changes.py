"""Tell what a kernel changed against its parent by source and build, whatever its proposer says of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kopt.report.details import ChangedFact
from kopt.report.marked import diff
from kopt.view.compare import NO_VALUE, Changed, LaunchDifference, difference
from kopt.view.kernel import KernelView, LaunchView

CONSEQUENCES = ("registers", "shared memory", "spills", "occupancy")
"""Figures of a launch that the compiler decides; the others follow from the source."""

MOST_SETTINGS = 12
"""Most settings that are told."""


def changed_facts(own: KernelView, parent: KernelView) -> tuple[ChangedFact, ...]:
    """List the figures of a kernel's build that differ from its parent's: of launches, then counts of instructions."""
    differs = difference(parent, own)
    launches = [
        ChangedFact(where=f"{_name(one)}, {one.workload}", name=fact.name, before=fact.before, after=fact.after)
        for one in differs.launches
        for fact in _facts(one)
    ]
    counts = [
        ChangedFact(
            where="PTX", name=one.kind, before=f"{one.before} ({one.before_in_loops} in loops)",
            after=f"{one.after} ({one.after_in_loops} in loops)",
        )
        for one in differs.instructions
    ]  # fmt: skip
    return (*launches, *counts)


def changes_in_short(own: KernelView, parent: KernelView) -> tuple[str, ...]:
    """Tell the settings of launches that a kernel changed (`warps 16 → 4`), then how many lines of its source."""
    if not own.source or not parent.source:
        return ()
    settings = list(dict.fromkeys(_settings(difference(parent, own).launches)))
    left_out = [f"{len(settings) - MOST_SETTINGS} more"] if len(settings) > MOST_SETTINGS else []
    return (*settings[:MOST_SETTINGS], *left_out, _lines(own, parent))


def _settings(launches: Sequence[LaunchDifference]) -> Iterable[str]:
    several = len({_name(one) for one in launches}) > 1
    for one in launches:
        for fact in _facts(one):
            if fact.name not in CONSEQUENCES:
                yield f"{_name(one) + ': ' if several else ''}{_told(fact)}"


def _told(fact: Changed) -> str:
    if fact.before == NO_VALUE:
        return f"{fact.name} = {fact.after} new"
    if fact.after == NO_VALUE:
        return f"{fact.name} = {fact.before} gone"
    return f"{fact.name} {fact.before} → {fact.after}"


def _lines(own: KernelView, parent: KernelView) -> str:
    marks = [line.kind for line in diff(parent.source, own.source)]
    added, removed = marks.count("added"), marks.count("removed")
    if not added and not removed:
        return "the source is the parent's"
    same = own.fingerprint and own.fingerprint == parent.fingerprint
    return f"{added} of {len(own.source.splitlines())} lines new, {removed} gone" + (
        "; it compiles to the parent's code" if same else ""
    )


def _name(one: LaunchDifference) -> str:
    launch = one.after or one.before
    return launch.kernel if launch else ""


def _facts(one: LaunchDifference) -> tuple[Changed, ...]:
    """List the figures of a launch that differ; a launch that only one kernel makes is one of them."""
    if one.before and one.after:
        return one.changed
    return (Changed(name="launch", before=_launch(one.before), after=_launch(one.after)),)


def _launch(launch: LaunchView | None) -> str:
    return f"{launch.kernel}, {launch.warps} warps" if launch else "none"
