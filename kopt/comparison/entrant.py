"""Read a finished run as an entrant of a comparison: what it searched, by what it was judged, and its best so far."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from kopt.artifact import digest, read_value
from kopt.comparison.label import derived_labels, recorded_label, telling_settings
from kopt.errors import ConfigError
from kopt.model.base import Value
from kopt.model.cost import total
from kopt.model.trial import StopReason
from kopt.report.rows import judging, progress_rows
from kopt.run.job_times import job_spans
from kopt.run.layout import MANIFEST
from kopt.run.load import load_run
from kopt.run.manifest import Manifest
from kopt.run.started import started
from kopt.run.stores import store_folder
from kopt.run.value import Run
from kopt.run_settings import RunSettings

Kind = Literal["measured", "estimated", "made up"]
"""How the times of a run were obtained."""
Replies = Literal["none", "paid", "replayed", "partly replayed"]
"""Where the replies of language models came from; none were asked for where the embedded proposer works alone."""


class Point(Value):
    """The best time after some candidates, and what had been spent by then."""

    slots: int
    """Fresh proposals that had been asked for; repairs belong to their slots."""
    dollars: float
    """Cost of the replies so far, at the prices when they were made, US dollars."""
    gpu_s: float | None
    """Seconds for which jobs had held a GPU; None without a record of them."""
    best_ms: float


class Entrant(Value):
    """A finished run."""

    run: str
    folder: str
    label: str
    """Name of its strategy in the comparison."""
    strategy: str
    problem: str
    workloads: str
    """Digest of reference, types, timed workloads and their weights, and seed kernel."""
    judge: str
    device: str
    kind: Kind
    replies: Replies
    seed: int
    slots_planned: int
    """Slots of all rounds."""
    stopped: StopReason | None
    """Why it ended before its last round."""
    proposers: tuple[str, ...]
    settings: dict[str, JsonValue]
    """Settings that may make another strategy."""
    versions: dict[str, str]
    store: str
    """Path of its store; empty where it is gone."""
    points: tuple[Point, ...]
    """In order, the seed kernel first."""

    @property
    def speedup(self) -> float:
        """Time of the seed kernel over the best time of the whole run."""
        return self.points[0].best_ms / self.points[-1].best_ms


def entrants(folders: Sequence[Path]) -> list[Entrant]:
    """Read finished runs.

    Raises:
        ConfigError: a folder holds no finished run.
        CorruptArtifact: a file is torn or holds something else.
    """
    runs = [load_run(folder) for folder in folders]
    labels = derived_labels([run.config for run in runs])
    return [
        _entrant(folder, run, recorded_label(folder.resolve()) or label)
        for folder, run, label in zip(folders, runs, labels, strict=True)
    ]


def finished_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the finished and the unfinished runs directly below a folder, e.g. a comparison's, by name.

    Raises:
        ConfigError: there is no finished run.
    """
    finished = sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))
    begun = sorted(path.parent for path in folder.glob("*/started.json"))
    if not finished:
        raise ConfigError(f"{folder} holds no run that has ended: name folders of finished runs, e.g. results/demo")
    return finished, [path for path in begun if path not in finished]


def _entrant(folder: Path, run: Run, label: str) -> Entrant:
    settings, manifest, record = RunSettings(run.config), read_value(folder / MANIFEST, Manifest), started(folder)
    store = store_folder(folder, run.config, record)
    jobs = job_spans(folder, rounds=run.config.rounds, holds_gpus=settings.holds_gpus)
    held = [job for job in judging(jobs) if job.gpu]
    points, slots = [], 0
    for row, trial in zip(
        progress_rows(run.trials, run.summaries, run.models.costs, held),
        (trial for trial in run.trials if trial.status != "skipped"),
        strict=True,
    ):
        slots += trial.round > 0 and trial.attempt == 0
        gpu_s = row["judge_s"]
        points.append(
            Point(
                slots=slots, dollars=float(str(row["dollars"])), best_ms=float(str(row["best_ms"])),
                gpu_s=gpu_s if isinstance(gpu_s, float) else None,
            )
        )  # fmt: skip
    return Entrant(
        run=run.name, folder=str(folder), label=label, strategy=settings.strategy, problem=run.problem.name,
        workloads=_workloads(run), judge=settings.backend, device=run.device.name, kind=_kind(run, settings),
        replies=_replies(run), seed=run.config.seed, slots_planned=settings.fan_out * run.config.rounds,
        stopped=run.last.stopped, proposers=settings.proposers, settings=telling_settings(run.config),
        versions=manifest.versions, store=str(store.resolve()) if store else "",
        points=tuple(points),
    )  # fmt: skip


def _workloads(run: Run) -> str:
    problem = run.problem
    fields = {"reference", "seed", "dtype", "main", "weights", "floor", "tolerance", "keep_dtypes"}
    return digest(problem.model_dump(mode="json", include=fields))


def _kind(run: Run, settings: RunSettings) -> Kind:
    if settings.backend.startswith("dry"):
        return "made up"
    return "estimated" if run.last.estimated else "measured"


def _replies(run: Run) -> Replies:
    cost = total(run.models.costs)
    if not run.models.costs:
        return "none"
    if cost.replayed:
        return "replayed"
    return "partly replayed" if cost.stored else "paid"
