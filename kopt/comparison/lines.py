"""Write a comparison for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from kopt.comparison.budget import OVER, TITLES, Over
from kopt.comparison.standings import Comparison, Duel, Spread
from kopt.report.numbers import milliseconds, percent, ratio


def comparison_lines(comparison: Comparison) -> Iterator[str]:
    """Yield the lines of a comparison: what was compared, a table at each budget, pairs, warnings."""
    yield (
        f"{comparison.name}: {len(comparison.entrants)} runs, {_count(comparison.labels, 'strategy', 'strategies')} on "
        f"{_count(comparison.problems, 'problem', 'problems')}, {_count(comparison.seeds, 'seed', 'seeds')}"
    )
    yield comparison.statement
    for line in comparison.warnings:
        yield f"note: {line}"
    for over in OVER:
        if over in comparison.unavailable:
            yield f"at equal {TITLES[over]}: not compared, {comparison.unavailable[over]}"
        else:
            yield from _at(comparison, over)


def _at(comparison: Comparison, over: Over) -> Iterator[str]:
    yield ""
    yield f"at equal {TITLES[over]}; medians over seeds with 95 % bootstrap intervals"
    rows = [("problem", "strategy", "runs", TITLES[over], "speedup over the seed", "best time")]
    rows += [
        (
            one.problem, one.label, str(one.runs), amount(one.budget, over), spread_text(one.speedup, ratio),
            f"{milliseconds(one.best_ms.middle)}{'' if comparison.kind == 'measured' else f' {comparison.kind}'}",
        )
        for one in comparison.standings
        if one.over == over
    ]  # fmt: skip
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    for duel in comparison.duels:
        if duel.over == over:
            yield duel_text(duel)


def duel_text(duel: Duel) -> str:
    """Say how two strategies fared against each other."""
    pairs, problems = _counted(duel.pairs, "pair", "pairs"), _counted(duel.problems, "problem", "problems")
    return (
        f"{duel.label} against {duel.other}, {pairs} on {problems}: {duel.wins} won, {duel.ties} tied, "
        f"{duel.losses} lost, win rate {spread_text(duel.win_rate, percent)}; time "
        f"{spread_text(duel.ratio, three_decimals)}: {duel.answer}"
    )


def spread_text(spread: Spread, write: Callable[[float], str] = ratio) -> str:
    """Write a middle with its interval where there is one: `1.40x (1.38x to 1.42x)`."""
    if spread.low is None or spread.high is None:
        return write(spread.middle)
    return f"{write(spread.middle)} ({write(spread.low)} to {write(spread.high)})"


def amount(value: float, over: Over) -> str:
    """Write a budget with its unit."""
    if over == "dollars":
        return f"${value:.4f}"
    return f"{value:.0f}" if over == "slots" else f"{value:.1f} s"


def three_decimals(value: float) -> str:
    """Write a ratio close to one: `0.993x`."""
    return f"{value:.3f}x"


def _count(names: Sequence[object], one: str, many: str) -> str:
    return f"{_counted(len(names), one, many)} ({', '.join(map(str, names))})"


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
