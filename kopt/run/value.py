"""Define a finished run as one value, and derive figures from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from kopt.config import Config
from kopt.model.cost import LabelledCost
from kopt.model.device import Device
from kopt.model.outcome import Outcome
from kopt.model.problem import Problem, ProblemFacts
from kopt.model.trial import RoundSummary, Trial
from kopt.report.record import Agreed, Lessons
from kopt.report.trials import assemble_trials
from kopt.run.tables import Round


@dataclass(frozen=True)
class ModelSummary:
    """Costs, agreement and lessons of a run's language models; empty in a run without language models."""

    costs: Sequence[LabelledCost] = ()
    agreed: Sequence[Agreed] = ()
    """Agreement by technique, where facts and a model both classified."""
    lessons: Sequence[Lessons] = ()
    """Lessons by round."""


NO_MODELS = ModelSummary()


@dataclass(frozen=True)
class Run:
    """A finished run."""

    name: str
    config: Config
    """All settings; `judge` is the one that judged, not `auto`."""
    problem: Problem
    facts: ProblemFacts
    """Without workloads in a dry run."""
    device: Device
    taxonomy: Sequence[str]
    """Names of the techniques, in bit order."""
    rounds: Sequence[Round]
    """From round 0, which is the seed alone."""
    outcome: Outcome | None = None
    """The best kernel, the seed and the baselines measured side by side at the end; None without a GPU."""
    models: ModelSummary = NO_MODELS

    @cached_property
    def trials(self) -> list[Trial]:
        """One row per slot and attempt, losers included."""
        tables = [round.tables for round in self.rounds]
        return assemble_trials(
            [candidate for round in tables for candidate in round.candidates],
            [build for round in tables for build in round.builds],
            [evaluation for round in tables for evaluation in round.evaluations],
            [round.techniques for round in tables],
            [round.selection for round in self.rounds],
        )

    @property
    def summaries(self) -> tuple[RoundSummary, ...]:
        """The summary of each round, from round 0."""
        return tuple(round.summary for round in self.rounds)

    @property
    def last(self) -> RoundSummary:
        """The summary of the last round."""
        return self.rounds[-1].summary

    @property
    def best(self) -> Trial:
        """The first trial with the best kernel: the outcome's where it was measured, else the last round's."""
        name = self.outcome.best.origin if self.outcome else self.last.best_origin
        (best,) = [trial for trial in self.trials if trial.name == name]
        return best
