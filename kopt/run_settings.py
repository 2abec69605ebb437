"""Derive the settings of the rules from the configuration: models to ask, source of replies, options of judging.

`kopt.config` defines the settings that a user gives.  Here each derived value has the name that a rule's settings class
gives it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kopt.config import Config
from kopt.errors import ConfigError
from kopt.model.asking import Asking
from kopt.model.options import FinalsOptions, JudgeOptions, MeasureOptions
from kopt.model.proposers import EMBEDDED, NOBODY

MEASURING = ("cuda", "dry_gpu", "recorded")
"""Backends that measure times, listed here so that none is imported; a test compares with `Backend.measures`."""

CHUNK_SIZE, SUBMITTED_CHUNK_SIZE = 32, 64
"""Most kernels of an evaluate job by default: of one that runs where Snakemake runs, and of one that is submitted."""


@dataclass(frozen=True)
class RunSettings:
    """A configuration, and the values derived from it for one run."""

    config: Config

    @property
    def run_name(self) -> str:
        """Name of the run's folder."""
        problem = self.config.problem.removesuffix(".py").removesuffix(".json")
        return self.config.run or "-".join(filter(None, (problem, self.config.preset)))

    @property
    def folder(self) -> str:
        """Folder of the run, relative to the working directory."""
        return f"{self.config.results}/{self.run_name}"

    # Slots.

    @property
    def proposers(self) -> tuple[str, ...]:
        """The models of the run; `NOBODY` alone with strategy `noop`."""
        return (NOBODY,) if self.config.strategy == "noop" else self.config.models

    @property
    def fan_out(self) -> int:
        """Slots of a round: candidate_pool_size x num_bottlenecks x models x samples_per_prompt."""
        config = self.config
        return config.candidate_pool_size * config.num_bottlenecks * len(self.proposers) * config.samples_per_prompt

    def fan_out_formula(self) -> str:
        """Write the formula of `fan_out` with its numbers, for messages."""
        config = self.config
        return (
            f"candidate_pool_size {config.candidate_pool_size} x num_bottlenecks {config.num_bottlenecks} x "
            f"models {len(self.proposers)} x samples_per_prompt {config.samples_per_prompt} = {self.fan_out}"
        )

    # Language models.

    @property
    def language_models(self) -> tuple[str, ...]:
        """The proposers that a provider serves."""
        return tuple(name for name in self.proposers if name not in (*EMBEDDED, NOBODY))

    @property
    def classification(self) -> Literal["static", "llm", "both"]:
        """The classifier, with `auto` resolved."""
        clustering = self.config.technique_clustering
        if clustering.classifier != "auto":
            return clustering.classifier
        return "llm" if self.clustering and clustering.classifier_model and self.language_models else "static"

    @property
    def classifier(self) -> str:
        """The language model that classifies; empty where facts classify."""
        named = self.config.technique_clustering.classifier_model
        return "" if self.classification == "static" else self._model(named)

    @property
    def diagnoser(self) -> str:
        """The language model that diagnoses; empty where rules do, as `auto` means in a dry run."""
        return self._role(self.config.diagnosis, self.config.diagnosis_model)

    @property
    def reflector(self) -> str:
        """The language model that draws lessons from rounds; empty where none does, as `auto` means in a dry run."""
        return self._role(self.config.reflection, self.config.reflection_model)

    @property
    def asked_models(self) -> tuple[str, ...]:
        """Every language model that the run asks, each once, in order of name."""
        return tuple(sorted({*self.language_models, self.classifier, self.diagnoser, self.reflector} - {""}))

    @property
    def replies(self) -> Literal["live", "replay", "exchange", "slots"]:
        """Where replies come from."""
        return self.config.replies

    @property
    def asking(self) -> Asking | None:
        """Source and limits of replies, with the exchange folder resolved; None in a run without language models."""
        if not self.asked_models:
            return None
        derived = {"exchange": self.exchange, "by_label": self.replayed}
        fields = {name: getattr(self.config, name) for name in Asking.model_fields if name not in derived}
        return Asking.model_validate(fields | derived)

    @property
    def classifier_asking(self) -> Asking | None:
        """Source and limits of the classifier's replies; None where facts classify."""
        return self.asking if self.classifier else None

    @property
    def exchange(self) -> str:
        """Folder through which replies are exchanged."""
        return self.config.exchange or f"{self.folder}/exchange"

    @property
    def classifier_concurrency(self) -> int:
        """Most concurrent calls of the classifier."""
        return self.config.technique_clustering.max_concurrency

    def _role(self, chosen: str, named: str | None) -> str:
        auto = chosen == "auto" and not self.backend.startswith("dry") and bool(self.language_models)
        return self._model(named) if auto or chosen == "llm" else ""

    def _model(self, named: str | None) -> str:
        return named or next(iter(self.language_models), "")

    # Selection.

    @property
    def clustering(self) -> bool:
        """Whether selection goes by clusters of technique vectors."""
        return self.config.technique_clustering.enabled or self.config.strategy == "clustered"

    @property
    def strategy(self) -> str:
        """Name of the strategy's module in `kopt.search.strategies`; a beam with clustering is `clustered`."""
        return "clustered" if self.config.strategy == "beam" and self.clustering else self.config.strategy

    @property
    def stop_share(self) -> float:
        """Share of the roofline at which the search stops."""
        return self.config.stop.roofline_share

    @property
    def patience(self) -> int:
        """Rounds without improvement after which the search stops."""
        return self.config.max_no_improvement or self.config.stop.patience

    # Judging.

    @property
    def backend(self) -> Literal["cuda", "interpret", "dry", "dry_gpu", "recorded"]:
        """Name of the backend; `auto` means `interpret` (`kopt.preflight.validate` resolves `auto` for a machine)."""
        return "interpret" if self.config.judge == "auto" else self.config.judge

    @property
    def measures(self) -> bool:
        """Whether the backend measures on GPUs."""
        return self.backend in MEASURING

    @property
    def replayed(self) -> bool:
        """Whether all that is measured comes from a recording."""
        return self.backend == "recorded"

    @property
    def holds_gpus(self) -> bool:
        """Whether jobs hold GPUs: those of a replay do not, though its times were measured."""
        return self.measures and not self.replayed

    @property
    def chunk_size(self) -> int:
        """Most kernels of an evaluate job; without a setting the default of jobs that are not submitted."""
        return self.config.chunk_size or CHUNK_SIZE

    @property
    def judging(self) -> JudgeOptions:
        """Options of judging, and of timing where times are measured."""
        limits = self.config.limits
        measure = MeasureOptions(
            benchmark_warmup=self.config.benchmark_warmup,
            benchmark_repeat=self.config.benchmark_repeat,
            workers_per_gpu=self.config.workers_per_gpu,
            gpu_wait_seconds=limits.gpu_wait_seconds,
        )
        return JudgeOptions(
            seed=self.config.seed,
            judge_seconds=limits.judge_seconds,
            measure=measure if self.measures else None,
        )

    @property
    def finals(self) -> FinalsOptions | None:
        """Options of measuring the fastest kernels of a pool anew; None where nothing is measured."""
        return FinalsOptions(finalists=self.config.finalists, judging=self.judging) if self.measures else None

    @property
    def build_seconds(self) -> float:
        """Wall-clock limit for building one candidate, s."""
        return self.config.limits.build_seconds

    @property
    def profile_seconds(self) -> float:
        """Wall-clock limit for profiling one kernel, s."""
        return self.config.limits.profile_seconds

    @property
    def gpu_wait_seconds(self) -> float:
        """Longest wait of a job for a GPU, s."""
        return self.config.limits.gpu_wait_seconds

    def value(self, name: str) -> object:
        """Return the derived value called `name`, else the setting of that name."""
        return getattr(self, name) if hasattr(type(self), name) else getattr(self.config, name)


def check_consistent(settings: RunSettings) -> None:
    """Refuse settings that are valid alone but contradict each other.

    Raises:
        ConfigError: names the setting and what to do.
    """
    config = settings.config
    for setting, chosen, model in (
        ("technique_clustering.classifier", config.technique_clustering.classifier, settings.classifier),
        ("diagnosis", config.diagnosis, settings.diagnoser),
        ("reflection", config.reflection, settings.reflector),
    ):
        if chosen in ("llm", "both") and not model:
            raise ConfigError(f"{setting}: {chosen!r} needs a language model: name one in {setting}_model or models")
    if config.technique_clustering.enabled and config.strategy == "greedy":
        raise ConfigError(
            "technique_clustering.enabled: strategy greedy keeps one kernel, so there is nothing to cluster: "
            "set it to false, or strategy to beam"
        )
    if config.slots is not None and config.slots != settings.fan_out:
        raise ConfigError(f"slots: {config.slots} declared, but {settings.fan_out_formula()}: correct one of them")
