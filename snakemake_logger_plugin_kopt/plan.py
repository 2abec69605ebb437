"""Sum up in ten lines at most what a dry run says would run."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence

from kopt.neutral import one_line

MOST_LINES = 10
WIDTH = 118
MOST_RULES = 6
"""Most rules that are named for one reason."""


def plan(jobs: Mapping[str, int], reasons: Sequence[tuple[str, str]]) -> list[str]:
    """Return the lines of a dry run.

    Args:
        jobs: number of jobs by rule.
        reasons: rule and reason of each job, as Snakemake words it.
    """
    counts = {rule: count for rule, count in jobs.items() if rule not in ("total", "all")}
    if not counts:
        return ["kopt: dry run: nothing would run, every file of the run is up to date"]
    listed = ", ".join(f"{rule}\N{NO-BREAK SPACE}{count}" for rule, count in counts.items())
    lines = [f"kopt: dry run: {sum(counts.values())} jobs would run, and nothing runs now"]
    wrapped = textwrap.wrap(f"by rule: {listed}", WIDTH, initial_indent="  ", subsequent_indent="    ")[:4]
    lines += [line.replace("\N{NO-BREAK SPACE}", " ") for line in wrapped]
    by_reason: dict[str, Counter[str]] = {}
    for rule, reason in reasons:
        if rule != "all":
            by_reason.setdefault(one_line(reason.partition(":")[0], 60), Counter())[rule] += 1
    for reason, rules in sorted(by_reason.items(), key=lambda pair: -pair[1].total()):
        named = ", ".join(rule for rule, _ in rules.most_common(MOST_RULES))
        more = ", ..." if len(rules) > MOST_RULES else ""
        lines.append(f"  {reason}: {rules.total()} ({named}{more})"[:WIDTH])
    shown = lines[: MOST_LINES - 1]
    return [*shown, "  --logger-kopt-full lists every job with its files and its reason"]
