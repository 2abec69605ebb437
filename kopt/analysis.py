"""Look at a finished run from Python: typed values, tables as data frames, figures, and kernels that can be called.

    import kopt

    run = kopt.load_run("results/first")
    run.trials().groupby("model").time_ms.min()
    run.best_so_far("calls")
    run.kernel("best").source

Tables and figures are those of the report.  pandas is imported when a table is asked for, torch when a kernel is.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kopt.errors import ConfigError, KoptError
from kopt.jobs.kernels import kernel_source
from kopt.model.kernel import Kernel
from kopt.model.trial import Trial
from kopt.report import rows
from kopt.report.details import JobSpan
from kopt.report.figures import families, progress, roofline, timeline
from kopt.report.figures.chart import Chart
from kopt.report.lineage import chain, graph
from kopt.report.record import FinalFigures, RunRecord
from kopt.report.render import model_order, render
from kopt.report.sentences import fastest_of_pytorch
from kopt.run.final import final_figures
from kopt.run.job_times import job_spans
from kopt.run.load import load_run as read_finished
from kopt.run.started import started
from kopt.run.stores import store_folder
from kopt.run.value import Run
from kopt.run_settings import RunSettings
from kopt.store import Store
from kopt.view.of_run import trial_named, view_of_trial
from kopt.view.opened import finished_as_so_far
from kopt.view.page import report_record

if TYPE_CHECKING:
    import pandas as pd

    from kopt.view.kernel import KernelView


def load_run(folder: str | Path, store: str | Path | None = None) -> FinishedRun:
    """Load a finished run from its folder, e.g. `results/first`.

    Args:
        folder: the run's folder.
        store: the store that the run used; None: the one that its settings name, or the one beside its folder.

    Raises:
        ConfigError: the folder holds no finished run, or there is no store.
        CorruptArtifact: a file is torn or holds something else.
        TableError: a table has other columns.
    """
    place = Path(folder)
    run = read_finished(place)
    record = started(place)
    found = Path(store) if store is not None else store_folder(place, run.config, record)
    if found is None or not found.is_dir():
        raise ConfigError(f"the store of the run {place} is not at {found or run.config.store}: name it with store=...")
    return FinishedRun(place, run, Store(found))


@dataclass(frozen=True)
class RunKernel:
    """A kernel of a run."""

    name: str
    """Name of its first candidate, e.g. `r2a0s3`."""
    kernel: Kernel
    trial: Trial
    """Its row in the table of trials."""
    view: KernelView
    """Everything that is known of it, as `kopt show` prints: build, verdict with checks, times, techniques."""

    @property
    def source(self) -> str:
        """Text of its module."""
        return self.kernel.source

    @cached_property
    def function(self) -> Callable[..., Any]:
        """Its entry point, imported from a file of its own.

        This runs the candidate's code in this process, with all your rights: read the source first.  `Any`: a kernel
        takes and returns what its problem says.

        Raises:
            KoptError: the kernel did not pass, or its module cannot be imported.
        """
        if self.trial.verdict not in ("passed", "duplicate") or self.trial.time_ms is None:
            raise KoptError(f"{self.name} did not pass ({self.trial.verdict}): only verified kernels can be called")
        from kopt.device.reference.contract import load_candidate
        from kopt.device.reference.rejection import Rejected

        folder = tempfile.mkdtemp(prefix="kopt-kernel-")  # Triton reads the file as long as the process lives
        try:
            return load_candidate(self.kernel, Path(folder))
        except Rejected as error:
            raise KoptError(f"{self.name} cannot be imported: {error}") from error

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """Call the kernel with inputs of its problem, tensors on a GPU; runs its code as `function` does."""
        return self.function(*inputs, **named)


@dataclass(frozen=True)
class FinishedRun:
    """A finished run: its values, tables, figures and kernels."""

    folder: Path
    value: Run
    """Problem, device, settings, every round's tables, the measured outcome."""
    store: Store

    @property
    def final(self) -> FinalFigures:
        """The figures of the best kernel against the seed and the baselines; `estimated` says what they are."""
        return final_figures(self.value)

    @cached_property
    def record(self) -> RunRecord:
        """Everything that the report shows, without prompts and replies."""
        return report_record(self.value, self.store, self.folder)

    def report(self) -> str:
        """Return the report as HTML, without prompts and replies."""
        return render(self.record)

    def kernel(self, name: str = "best") -> RunKernel:
        """Return a kernel: `best`, `seed`, a candidate's name, or the begin of a digest.

        Raises:
            ConfigError: no kernel has this name, or several have.
            StoreError: its source is not in the store, or no longer.
        """
        so_far = finished_as_so_far(self.value, self.folder)
        trial = trial_named(name, so_far)
        kernel = self.value.problem.seed.with_source(kernel_source(trial.kernel, self.store))
        return RunKernel(trial.name, kernel, trial, view_of_trial(name, trial, so_far, self.store))

    def trials(self) -> pd.DataFrame:
        """Return all candidates, losers included: a row for every slot and attempt, times in ms."""
        return _frame(rows.trial_rows(self.value.trials), list(Trial.model_fields))

    def selections(self) -> pd.DataFrame:
        """Return the parents that each round selected, in order of rank."""
        return _frame(rows.selection_rows([round.selection for round in self.value.rounds]))

    def rounds(self) -> pd.DataFrame:
        """Return the counts and the best time of each round."""
        return _frame(rows.round_rows(self.value.summaries))

    def costs(self) -> pd.DataFrame:
        """Return calls, tokens and US dollars of the requests of each label; empty without language models."""
        return _frame(rows.cost_rows(self.value.models.costs), rows.COST_COLUMNS)

    def jobs(self) -> pd.DataFrame:
        """Return when each job worked, in seconds since the first; empty where Snakemake's records are not at hand."""
        return _frame(rows.job_rows(self._jobs), rows.JOB_COLUMNS)

    def progress(self) -> pd.DataFrame:
        """Return the candidates in order, with calls, dollars, seconds of judging and the best time so far."""
        return _frame(self._progress)

    def best_so_far(self, over: str = "x") -> Chart:
        """Draw the best time so far over rounds (`x`), `calls`, `dollars`, or seconds of judging (`judge_s`).

        Raises:
            ConfigError: there is no such axis.
        """
        if over not in progress.AXES:
            raise ConfigError(f"there is no axis {over!r}: choose one of {', '.join(progress.AXES)}")
        last = self.value.last
        return progress.best_so_far(
            self._progress, over, seed_ms=last.seed_ms, floor_ms=last.best_ms * last.roofline_share,
            models=self._models, estimated=last.estimated, gpu=any(job.gpu for job in self._jobs),
            others=fastest_of_pytorch(self.final),
        )  # fmt: skip

    def lineage(self) -> Chart:
        """Draw the family of all kernels that a round selected."""
        trials, selections = self.value.trials, [round.selection for round in self.value.rounds]
        return families.lineage(graph(trials, selections, chain(trials, self.value.best.name)))

    def roofline(self) -> Chart:
        """Draw kernels under the device's roofs; empty where operations or times by workload are not known."""
        proposers = {trial.name: trial.model for trial in self.value.trials}
        points = rows.roofline_rows(self.record.kernels, self.record.roofs, proposers)
        return roofline.roofline(
            points, rows.roof_rows(self.record.roofs), models=self._models, estimated=self.value.last.estimated
        )

    def clusters(self) -> Chart:
        """Draw clusters of kernels over the techniques that they use."""
        return families.clusters(rows.cluster_rows(self.value.trials), self.value.taxonomy, self.value.last.round)

    def timeline(self) -> Chart:
        """Draw when each job worked."""
        return timeline.timeline(rows.job_rows(self._jobs), any(job.gpu for job in self._jobs))

    @cached_property
    def _jobs(self) -> Sequence[JobSpan]:
        config = self.value.config
        return job_spans(self.folder, rounds=config.rounds, holds_gpus=RunSettings(config).holds_gpus)

    @cached_property
    def _progress(self) -> list[rows.Row]:
        run = self.value
        return rows.progress_rows(run.trials, run.summaries, run.models.costs, self._jobs)

    @property
    def _models(self) -> list[str]:
        proposers = RunSettings(self.value.config).proposers
        return model_order(proposers, [trial.model for trial in self.value.trials if trial.round > 0])


def _frame(table: Sequence[rows.Row], columns: list[str] | None = None) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(list(table), columns=columns)
