"""Read what only a run with language models has: costs, agreement with facts, lessons of the rounds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kopt.artifact import read_tables, read_values
from kopt.jobs.briefing import Briefing
from kopt.model.cost import LabelledCost
from kopt.report.record import Agreed, Lessons
from kopt.run.value import ModelSummary
from kopt.techniques.agreement import Agreement


def read_model_summary(costs: Sequence[Path], agreements: Sequence[Path], briefings: Sequence[Path]) -> ModelSummary:
    """Read what language models cost and said in a run.

    Args:
        costs: tables of costs, one of each job that asked.
        agreements: agreements of every round, where facts and a model both classified.
        briefings: briefings of every round but the last.
    """
    return ModelSummary(
        costs=read_tables(costs, LabelledCost),
        agreed=_agreed(read_values(agreements, Agreement)),
        lessons=_lessons(read_values(briefings, Briefing)),
    )


def _agreed(rounds: Sequence[Agreement]) -> list[Agreed]:
    """Add up the rounds' counts by technique, in the taxonomy's order."""
    names = dict.fromkeys(name for agreement in rounds for name in agreement.techniques)
    counts = {name: [a.techniques[name] for a in rounds if name in a.techniques] for name in names}
    return [
        Agreed(
            technique=name,
            both=sum(count.agreed for count in of_rounds),
            facts_only=sum(count.facts_only for count in of_rounds),
            model_only=sum(count.model_only for count in of_rounds),
        )
        for name, of_rounds in counts.items()
    ]


def _lessons(briefings: Sequence[Briefing]) -> list[Lessons]:
    """Collect the lessons of each round that has some, in order of round."""
    reflections = {reflection.round: reflection for b in briefings for reflection in b.memory.reflections}
    return [
        Lessons(round=round, worked=reflection.worked, failed=reflection.failed, advice=reflection.advice)
        for round, reflection in sorted(reflections.items())
    ]
