"""Read what a run has found so far, while it works or after it ended: files are whole or absent, nothing is waited for.

Rounds are read in order, and the first that is not complete is the last that is read: files beyond it may be leftovers
of another selection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from kopt.artifact import read_table, read_value
from kopt.config import Config
from kopt.errors import ConfigError, TableError
from kopt.model.device import Device
from kopt.model.diagnosis import Diagnosis
from kopt.model.kernel import Candidate, Slot
from kopt.model.outcome import Outcome
from kopt.model.problem import Problem, ProblemFacts
from kopt.model.timing import Finals
from kopt.model.trial import BuildRow, EvaluationRow, RankRow, RoundSummary, SelectionRow, TechniqueRow, Trial
from kopt.report.trials import assemble_trials
from kopt.run.layout import MANIFEST, Step, attempts_of, evaluation_files, steps_of
from kopt.run.manifest import Manifest
from kopt.run.started import Started, is_working, started
from kopt.run.tables import Round, RoundTables
from kopt.run.value import Run
from kopt.run_settings import RunSettings

V = TypeVar("V", bound=BaseModel)


@dataclass(frozen=True)
class Begun:
    """A round that is not complete."""

    round: int
    slots: Sequence[Slot]
    candidates: Sequence[Candidate]
    builds: Sequence[BuildRow]
    evaluations: Sequence[EvaluationRow]


@dataclass(frozen=True)
class RunSoFar:
    """A run as its files stand."""

    folder: Path
    config: Config
    started: Started | None
    """None for a run that was started before kopt recorded starts, or whose record is gone."""
    working: bool | None
    """Whether the process that started it lives; None where that cannot be known."""
    steps: Sequence[Step]
    done: Sequence[Step]
    """The steps whose files all exist, up to the first round that is not complete."""
    problem: Problem | None
    facts: ProblemFacts | None
    device: Device | None
    rounds: Sequence[Round]
    """Complete rounds, from round 0."""
    begun: Begun | None
    """The round after them; None after the last one."""
    baseline: Finals | None
    """The seed kernel and PyTorch's own ways, measured at the start; None where nothing is measured, or not yet."""
    outcome: Outcome | None
    taxonomy: Sequence[str]

    @property
    def settings(self) -> RunSettings:
        """The settings, and values derived from them."""
        return RunSettings(self.config)

    @property
    def finished(self) -> bool:
        """Whether everything that the settings ask for is there."""
        return len(self.done) == len(self.steps)

    @property
    def next_step(self) -> Step | None:
        """The first step that is not done; None where all are."""
        return next((step for step in self.steps if step not in self.done), None)

    @cached_property
    def trials(self) -> list[Trial]:
        """One row per slot and attempt so far, those of the round that is not complete included."""
        tables = [round.tables for round in self.rounds]
        begun = self.begun or Begun(0, (), (), (), ())
        return assemble_trials(
            [*(row for table in tables for row in table.candidates), *begun.candidates],
            [*(row for table in tables for row in table.builds), *begun.builds],
            [*(row for table in tables for row in table.evaluations), *begun.evaluations],
            [table.techniques for table in tables],
            [round.selection for round in self.rounds],
        )

    @property
    def run(self) -> Run | None:
        """The complete rounds as a run; None before the seed kernel was judged and selected."""
        if not self.rounds or self.problem is None or self.facts is None or self.device is None:
            return None
        return Run(
            name=self.folder.resolve().name, config=self.config, problem=self.problem, facts=self.facts,
            device=self.device, taxonomy=self.taxonomy, rounds=self.rounds, outcome=self.outcome,
        )  # fmt: skip


def read_so_far(folder: Path) -> RunSoFar:
    """Read a run as its files stand.

    Raises:
        ConfigError: the folder holds no run.
        CorruptArtifact: a file is torn or holds something else.
        TableError: a table has other columns, or tables contradict each other.
    """
    record, manifest = started(folder), _value(folder / MANIFEST, Manifest)
    if record is None and manifest is None:
        raise ConfigError(f"{folder} holds no run: it has neither started.json nor {MANIFEST}")
    config = record.config if record else manifest.config if manifest else Config()
    settings = RunSettings(config)
    steps = steps_of(folder, settings)
    rounds = _complete_rounds(folder, steps, settings)
    complete = len(rounds) > config.rounds
    return RunSoFar(
        folder=folder,
        config=config,
        started=record,
        working=is_working(folder),
        steps=steps,
        done=[step for step in steps if step.round <= len(rounds) and all(file.exists() for file in step.files)],
        problem=_value(folder / "problem.json", Problem),
        facts=_value(folder / "facts.json", ProblemFacts),
        device=_value(folder / "device.json", Device),
        rounds=rounds,
        begun=None if complete else _begun(folder, len(rounds), settings),
        baseline=_value(folder / "baseline.json", Finals) if settings.measures else None,
        outcome=_value(folder / "outcome.json", Outcome) if settings.measures and complete else None,
        taxonomy=manifest.taxonomy if manifest else (),
    )


def _complete_rounds(folder: Path, steps: Sequence[Step], settings: RunSettings) -> list[Round]:
    """Read the rounds that have selected their parents, up to the first that has not."""
    rounds: list[Round] = []
    for round in range(settings.config.rounds + 1):
        own = [step for step in steps if step.round == round and step.name not in ("baseline", "outcome", "finish")]
        needed = [file for step in own if step.name not in ("profile", "brief", "diagnose") for file in step.files]
        complete = _round(folder / f"round_{round}", round, settings) if all(map(Path.exists, needed)) else None
        if complete is None:
            break
        rounds.append(complete)
    return rounds


def _round(folder: Path, round: int, settings: RunSettings) -> Round | None:
    """Read a round; None where one of its files has just gone, since its rule runs again."""
    ranking = _rows(folder / "ranking.parquet", RankRow)
    techniques = _rows(folder / "techniques.parquet", TechniqueRow)
    selection = _rows(folder / "selection.parquet", SelectionRow)
    summary = _value(folder / "round.json", RoundSummary)
    attempts = [_attempt(folder, round, attempt, settings) for attempt in attempts_of(round, settings)]
    if ranking is None or techniques is None or selection is None or summary is None or not all(attempts):
        return None
    candidates, builds, evaluations = _joined(attempts)
    places = range(settings.config.candidate_pool_size)
    diagnoses = [_value(folder / "diagnosis" / f"{place}.json", Diagnosis) for place in places]
    return Round(
        tables=RoundTables(candidates, builds, evaluations, pool=ranking, techniques=techniques),
        selection=selection,
        summary=summary,
        diagnoses=[one for one in diagnoses if one is not None],
    )


def _begun(folder: Path, round: int, settings: RunSettings) -> Begun:
    path, attempts = folder / f"round_{round}", []
    for attempt in attempts_of(round, settings):
        read = _attempt(path, round, attempt, settings)
        if read is None:
            break
        attempts.append(read)
    candidates, builds, evaluations = _joined(attempts)
    slots = _rows(path / "slots.parquet", Slot) or []
    return Begun(round=round, slots=slots, candidates=candidates, builds=builds, evaluations=evaluations)


_Attempt = tuple[Sequence[Candidate], Sequence[BuildRow], Sequence[EvaluationRow]]


def _attempt(folder: Path, round: int, attempt: int, settings: RunSettings) -> _Attempt | None:
    """Read the tables of an attempt; None where nothing has been proposed."""
    path = folder / f"attempt_{attempt}"
    candidates = _rows(path / "candidates.parquet", Candidate)
    if candidates is None:
        return None
    builds = _rows(path / "builds.parquet", BuildRow)
    files = evaluation_files(path, round, attempt, settings) if builds is not None else []
    return candidates, builds or [], [row for file in files for row in _rows(file, EvaluationRow) or []]


def _joined(attempts: Sequence[_Attempt | None]) -> tuple[list[Candidate], list[BuildRow], list[EvaluationRow]]:
    read = [attempt for attempt in attempts if attempt is not None]
    return (
        [row for candidates, _, _ in read for row in candidates],
        [row for _, builds, _ in read for row in builds],
        [row for _, _, evaluations in read for row in evaluations],
    )


def _rows(path: Path, model: type[V]) -> list[V] | None:
    """Read a table; None where there is none, or where it went while it was read."""
    try:
        return read_table(path, model) if path.exists() else None
    except TableError:
        if path.exists():
            raise
        return None


def _value(path: Path, model: type[V]) -> V | None:
    try:
        return read_value(path, model)
    except FileNotFoundError:
        return None
