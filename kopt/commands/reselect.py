"""`kopt reselect`: score other strategies over a finished search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from kopt.command_line.numbers import count
from kopt.command_line.panel import Panel, Place
from kopt.commands.parts.arguments import AsJson
from kopt.commands.parts.looked_at import RunName, run_folder
from kopt.commands.parts.output import print_answer

if TYPE_CHECKING:
    from kopt.run.value import Run
    from kopt.search.counterfactual import Counterfactual

PLACE = Place(Panel.LOOK, 4)
PROPOSES_NOTHING = "noop"
"""The strategy that no search is compared with."""
LIMITS = (
    "A time is the best that the archive has: where parents are missing, the strategy may have found faster kernels.",
    "Not in any archive: what proposers make of other parents and lessons, and slots that are shared out otherwise.",
)  # fmt: skip


def run(
    run: RunName,
    strategy: Annotated[
        list[str] | None,
        typer.Option("--strategy", metavar="NAME...", help="Strategies to score; default: all.", show_default=False),
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(
            "--width",
            metavar="NUMBER",
            parser=count,
            help="Most parents of a round; default: the run's.",
            show_default=False,
        ),
    ] = None,
    json: AsJson = False,
) -> int:
    """Score other strategies over a finished search: what they would have selected, and what cannot be known.

    Nothing is proposed, built or measured: a strategy chooses from the kernels that the search recorded.  Children of
    parents that the search did not expand are missing, and it is said how many.

    JSON: `run`, `strategy` and `width` of the run, and `scores`, each with `strategy`, `width`, `best_ms`, `support`,
    `known_to` and `steps`.

    Examples:
        kopt reselect demo
        kopt reselect demo --strategy beam clustered --width 4 --json
    """
    from kopt.run.load import load_run
    from kopt.run.recorded import recorded_rounds
    from kopt.search.counterfactual import counterfactual
    from kopt.search.registry import load_strategy, strategy_names

    found = load_run(run_folder(run))
    names = strategy or [name for name in strategy_names() if name != PROPOSES_NOTHING]
    wide = width or found.config.candidate_pool_size
    rounds = recorded_rounds(found)
    scores = [counterfactual(name, load_strategy(name), wide, rounds) for name in names]
    answer = {
        "run": found.name, "strategy": found.config.strategy, "width": found.config.candidate_pool_size,
        "scores": [
            score.model_dump() | {"best_ms": score.best_ms, "support": score.support, "known_to": score.known_to}
            for score in scores
        ],
    }  # fmt: skip
    print_answer(answer, _lines(found, scores), as_json=json)
    return 0


def _lines(run: Run, scores: Sequence[Counterfactual]) -> Iterator[str]:
    from kopt.report.numbers import percent, speedup_text, time_text

    yield (
        f"{run.name}: strategy {run.config.strategy}, width {run.config.candidate_pool_size}, "
        f"best {time_text(run.last.best_ms, run.last.estimated)} after {run.last.round} rounds"
    )
    for score in scores:
        missing = sum(len(step.missing) for step in score.steps)
        gap = f"from round {score.known_to + 1} on, {missing} missing" if missing else "whole"
        yield (
            f"{score.strategy:<14} width {score.width}: {time_text(score.best_ms, run.last.estimated)}, "
            f"{speedup_text(run.last.seed_ms / score.best_ms, 'seed', run.last.estimated)} ({score.steps[-1].best}); "
            f"{percent(score.support)} of its expansions on record, {gap}"
        )
    if any(step.missing for score in scores for step in score.steps):
        yield LIMITS[0]
    yield LIMITS[1]
