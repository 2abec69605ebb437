"""Put a run together from the files that its rules wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kopt.artifact import read_table, read_tables, read_value, read_values
from kopt.config import Config
from kopt.model.device import Device
from kopt.model.diagnosis import Diagnosis
from kopt.model.kernel import Candidate
from kopt.model.outcome import Outcome
from kopt.model.problem import Problem, ProblemFacts
from kopt.model.trial import BuildRow, EvaluationRow, RankRow, RoundSummary, SelectionRow, TechniqueRow
from kopt.run.tables import Round, RoundTables
from kopt.run.value import NO_MODELS, ModelSummary, Run


@dataclass(frozen=True)
class RunFiles:
    """The files that a run is read from; those of rounds in order of round, from round 0."""

    problem: Path
    facts: Path
    device: Path
    summaries: Sequence[Path]
    selections: Sequence[Path]
    rankings: Sequence[Path]
    techniques: Sequence[Path]
    candidates: Sequence[Path]
    """Tables of candidates, one for every attempt."""
    builds: Sequence[Path]
    """Tables of builds, one for every attempt."""
    evaluations: Sequence[Path]
    """Tables of evaluations, one for every attempt and chunk."""
    diagnoses: Sequence[Path]
    """Diagnoses of every round but the last, equally many in each."""
    outcome: Sequence[Path] = ()
    """The measured outcome, one file in a run on a GPU."""


def read_run(
    files: RunFiles, *, name: str, config: Config, taxonomy: Sequence[str], models: ModelSummary = NO_MODELS
) -> Run:
    """Read a finished run.

    Args:
        files: the files of the run.
        name: the run's.
        config: the settings that it ran with.
        taxonomy: names of the techniques, in bit order.
        models: costs, agreement and lessons of the run's language models.

    Raises:
        CorruptArtifact: a file is torn or holds something else.
        TableError: a table has other columns.
    """
    return Run(
        name=name,
        config=config,
        problem=read_value(files.problem, Problem),
        facts=read_value(files.facts, ProblemFacts),
        device=read_value(files.device, Device),
        taxonomy=taxonomy,
        rounds=_rounds(files),
        outcome=next(iter(read_values(files.outcome, Outcome)), None),
        models=models,
    )


def _rounds(files: RunFiles) -> list[Round]:
    summaries = read_values(files.summaries, RoundSummary)
    candidates = read_tables(files.candidates, Candidate)
    builds = read_tables(files.builds, BuildRow)
    evaluations = read_tables(files.evaluations, EvaluationRow)
    diagnoses = read_values(files.diagnoses, Diagnosis)
    places = len(diagnoses) // max(len(summaries) - 1, 1)
    return [
        Round(
            tables=RoundTables(
                candidates=[row for row in candidates if row.round == number],
                builds=[row for row in builds if row.round == number],
                evaluations=[row for row in evaluations if row.round == number],
                pool=read_table(files.rankings[number], RankRow),
                techniques=read_table(files.techniques[number], TechniqueRow),
            ),
            selection=read_table(files.selections[number], SelectionRow),
            summary=summary,
            diagnoses=diagnoses[places * number : places * (number + 1)],
        )
        for number, summary in enumerate(summaries)
    ]
