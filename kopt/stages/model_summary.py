"""What only a run that asked language models can report: costs, agreement with facts, lessons of the rounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kopt.artifact import read_tables, read_values
from kopt.jobs.briefing import Briefing
from kopt.jobs.command import Job
from kopt.report.costs import LabelledCost
from kopt.report.record import Agreed, Lessons
from kopt.stages.classify_by_model import Agreement


class Told(NamedTuple):
    """What language models told a run, and what it cost."""

    costs: Sequence[LabelledCost] = ()
    agreed: Sequence[Agreed] = ()
    lessons: Sequence[Lessons] = ()


def told(job: Job) -> Told:
    """What a job's files hold of language models."""
    return Told(
        costs=read_tables(job.paths("costs"), LabelledCost),
        agreed=_agreed(read_values(job.paths("agreements"), Agreement)),
        lessons=_lessons(read_values(job.paths("briefings"), Briefing)),
    )


def _agreed(rounds: Sequence[Agreement]) -> list[Agreed]:
    """Counts by technique, over all rounds, in the taxonomy's order."""
    names = dict.fromkeys(name for one in rounds for name in one.techniques)
    counts = {name: [one.techniques[name] for one in rounds if name in one.techniques] for name in names}
    return [
        Agreed(
            technique=name,
            both=sum(one.agreed for one in found),
            facts_only=sum(one.facts_only for one in found),
            model_only=sum(one.model_only for one in found),
        )
        for name, found in counts.items()
    ]


def _lessons(briefings: Sequence[Briefing]) -> list[Lessons]:
    """The lessons of each round that has some, in order of round."""
    found = {one.round: one for briefing in briefings for one in briefing.memory.reflections}
    return [
        Lessons(round=number, worked=one.worked, failed=one.failed, advice=one.advice)
        for number, one in sorted(found.items())
    ]
