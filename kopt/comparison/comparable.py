"""Refuse runs that cannot be compared, and say what differs beside their strategies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

from kopt.comparison.entrant import Entrant
from kopt.comparison.label import differing
from kopt.errors import ConfigError
from kopt.provenance import DECIDING


def refuse(entrants: Sequence[Entrant]) -> None:
    """Refuse runs of different judges, devices or workloads, and two runs of one strategy, problem and seed.

    Raises:
        ConfigError: one line that names two of the runs, and what differs.
    """
    first = entrants[0]
    for one in entrants:
        for name, mine, theirs in (
            ("judge", one.judge, first.judge),
            ("device", one.device, first.device),
            ("times", one.kind, first.kind),
        ):
            if mine != theirs:
                raise ConfigError(
                    f"{first.folder} and {one.folder} cannot be compared: {name} {theirs} against {mine}; compare runs "
                    "of one judge and one device"
                )
    for problem, own in groupby(sorted(entrants, key=lambda one: one.problem), key=lambda one: one.problem):
        same = list(own)
        for one in same:
            if one.workloads != same[0].workloads:
                raise ConfigError(
                    f"{same[0].folder} and {one.folder} cannot be compared: problem {problem} has other workloads, "
                    "another reference or another seed kernel in one of them"
                )
    cells: dict[tuple[str, str, int], Entrant] = {}
    for one in entrants:
        before = cells.setdefault((one.label, one.problem, one.seed), one)
        if before is not one:
            raise ConfigError(
                f"{before.folder} and {one.folder} are both of strategy {one.label}, problem {one.problem} and seed "
                f"{one.seed}: leave one of them out"
            )


def warnings(entrants: Sequence[Entrant]) -> list[str]:
    """Say in lines what weakens the comparison: unequal budgets, other settings or versions, lacking runs."""
    return [*_budgets(entrants), *_differences(entrants), *_lacking(entrants), *_stopped(entrants)]


def _budgets(entrants: Sequence[Entrant]) -> Iterator[str]:
    planned = sorted({one.slots_planned for one in entrants})
    if len(planned) > 1:
        yield (
            f"budgets differ: runs were given {planned[0]} to {planned[-1]} slots; each problem is compared at the "
            "smallest budget of its runs"
        )


def _differences(entrants: Sequence[Entrant]) -> Iterator[str]:
    labels = sorted({one.label for one in entrants})
    if len(labels) < 2:
        yield f"all runs are of one strategy ({labels[0]}): nothing is compared"
    if names := differing([one.settings for one in entrants]):
        yield f"settings differ beside the strategy: {', '.join(names)}"
    for name in DECIDING:
        if len(known := sorted({one.versions.get(name, "unknown") for one in entrants})) > 1:
            yield f"versions of {name} differ: {', '.join(known)}"


def _lacking(entrants: Sequence[Entrant]) -> Iterator[str]:
    labels = sorted({one.label for one in entrants})
    cells = sorted({(one.problem, one.seed) for one in entrants})
    there = {(one.label, one.problem, one.seed) for one in entrants}
    lacking = [(label, *cell) for label in labels for cell in cells if (label, *cell) not in there]
    if lacking:
        label, problem, seed = lacking[0]
        more = f" and {len(lacking) - 1} more" if lacking[1:] else ""
        yield f"no run of {label} on {problem} with seed {seed}{more}: strategies are paired where both ran"


def _stopped(entrants: Sequence[Entrant]) -> Iterator[str]:
    for reason, count in sorted(Counter(str(one.stopped) for one in entrants if one.stopped).items()):
        yield f"{count} of {len(entrants)} runs ended before their last round ({reason}): their best time then counts"
