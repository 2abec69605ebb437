"""Define the configuration: the name, description and default of every setting.

`kopt config --write` generates `config/config.yaml`, `config/schema.json` and `docs/configuration.md` from this model.
No other module reads settings from files, and no environment variable changes behaviour.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from kopt.model.asking import CallOptions
from kopt.model.base import Documented
from kopt.model.proposers import REWRITER

Names = Annotated[tuple[str, ...], BeforeValidator(lambda v: _names(v))]


Baseline = Literal["eager", "compile", "max-autotune"]


class TechniqueClustering(Documented):
    """Diversity-preserving selection by technique vectors."""

    enabled: bool = False
    """Select round-robin over clusters of equal technique vectors; off: select the fastest kernels."""
    techniques: str = "config/techniques.yaml"
    """Taxonomy file, relative to the project."""
    classifier: Literal["auto", "static", "llm", "both"] = "auto"
    """Which classifier finds a kernel's techniques: `static`: facts of source and PTX; `llm`: a language model; `both`:
    facts decide the techniques that they can prove, a model the others; `auto`: `llm` where selection is by clusters,
    a classifier model is named and the run has language models, else `static`."""
    classifier_model: str | None = None
    """Language model that classifies; default: the run's first."""
    max_concurrency: int = Field(default=4, ge=1)
    """Classifier calls at the same time."""


class Stop(Documented):
    """Conditions that end a search before its last round."""

    roofline_share: float = Field(default=0.95, gt=0, le=1)
    """Stop when the best kernel's measured time reaches this share of the roofline, 0 to 1; an estimate never stops
    the search."""
    patience: int = Field(default=5, ge=1)
    """Stop after this many rounds without improvement."""


class Limits(Documented):
    """Limits of one candidate."""

    build_seconds: float = Field(default=90.0, gt=0)
    """Wall-clock limit for tracing and compiling one candidate, s."""
    judge_seconds: float = Field(default=90.0, gt=0)
    """Wall-clock limit for verifying one candidate, s."""
    gpu_wait_seconds: float = Field(default=7200.0, gt=0)
    """Longest wait of a job for a GPU that other processes hold, s."""
    profile_seconds: float = Field(default=180.0, gt=0)
    """Wall-clock limit for profiling one kernel with Nsight Compute, s."""


class Config(Documented):
    """All settings of a run."""

    preset: str = ""
    """Name of the preset that these settings come from, for the record: a file of `config/presets`."""
    run: str = Field(default="", pattern=r"^[A-Za-z0-9_.-]*$")
    """Name of the run: its folder under `results`; default: problem and preset."""
    problem: str = Field(default="matvec", pattern=r"^[A-Za-z0-9_.-]+$")
    """Name of the problem: a folder under `problems`."""
    problems: str = "config/problems"
    """Folder of problems, relative to the project."""
    rounds: int = Field(default=8, ge=1, le=50)
    """Rounds of expand, evaluate and select after round 0, which judges the seed kernel."""
    second_seed: bool = False
    """Whether round 0 also judges a seed kernel that kopt makes of the reference (TorchInductor's Triton, or a
    template), beside the problem's own; both may be parents of round 1."""
    strategy: str = "beam"
    """How parents are chosen and slots shared out, a module of `kopt/search/strategies` (docs/strategies.md): `beam`
    keeps the fastest kernels; `clustered` takes parents in turn from clusters of equal technique vectors; `map_elites`
    keeps the fastest of every niche of techniques; `islands` lets groups of parents develop apart; `bandit` is a beam
    whose slots go to the models that gain most for their dollars; `greedy` follows one lineage; `noop` is a beam
    without proposers (a dry run)."""
    candidate_pool_size: int = Field(default=2, ge=1, le=1000)
    """Parents that selection keeps; all of them are expanded."""
    num_bottlenecks: int = Field(default=2, ge=1, le=16)
    """Directions that a diagnosis gives for each parent, ranked and different; each direction gets its own slots."""
    models: Names = (REWRITER,)
    """Proposers; each gets its own slots."""
    samples_per_prompt: int = Field(default=1, ge=1, le=100)
    """Slots for each combination of parent, direction and model."""
    slots: int | None = Field(default=None, ge=1)
    """Slots of a round, for the record: must equal candidate_pool_size x num_bottlenecks x models x
    samples_per_prompt."""
    max_repairs: int = Field(default=3, ge=0, le=10)
    """Repairs: how often a candidate that fails to build or to pass goes back to its proposer with the error."""
    max_no_improvement: int | None = Field(default=None, ge=1)
    """Rounds without improvement after which the search stops, in place of `stop.patience`."""
    technique_clustering: TechniqueClustering = TechniqueClustering()
    """Diversity-preserving selection."""
    learning: bool = True
    """Whether the embedded proposer draws those transformations more often that paid in the run's earlier rounds, and
    those less often that failed or changed nothing in the compiled code."""
    tuned_share: float = Field(default=0.5, ge=0, le=1)
    """Share of the embedded proposer's slots, 0 to 1, in which it refines a fast parent: by a model of the run's times
    it changes numbers alone (tiles, warps, stages, registers), or in turn one or two small things (memory hints, masks,
    known sizes); of each parent at most half of its slots; from round 2 on, where `learning` is on."""
    experience: str = Field(default="none", min_length=1)
    """Gains of transformations in earlier runs with which the embedded proposer begins; needs `learning=true`. `none`:
    no gains, so that equal commands give equal searches; `store`: those of finished runs on this store, device and
    judge, noted once in the run's `experience.json`; or a file, relative to the working directory: the
    `experience.json` of another run."""
    diagnosis: Literal["auto", "rules", "llm"] = "auto"
    """How to find what limits a parent. `rules`: fixed rules over its profile, roofline share and build; `llm`: ask a
    language model; `auto`: a language model where the run has one, else rules."""
    diagnosis_model: str | None = None
    """Language model that diagnoses; default: the run's first."""
    reflection: Literal["auto", "none", "llm"] = "auto"
    """Whether a language model draws lessons from each round for later prompts: `none`: no; `llm`: yes; `auto`: where
    the run has a language model."""
    reflection_model: str | None = None
    """Language model that reflects; default: the run's first."""
    models_file: str = "config/models.yaml"
    """Table of language models: provider, limits, prices; relative to the project."""
    replies: Literal["live", "replay", "exchange", "slots"] = "live"
    """Where replies of language models come from: `live` calls; `replay`: the store alone; `exchange`: a folder;
    `slots`: each slot gets the reply that it had in the recording in the store, whatever its prompt says now
    (`kopt replay --anew`)."""
    delivery: Literal["direct", "batch"] = "direct"
    """Live calls one by one, or through the providers' batch APIs (cheaper, hours)."""
    exchange: str = ""
    """Folder for `replies: exchange`; default: `exchange` in the run's folder."""
    budget_usd: float | None = Field(default=None, ge=0)
    """Most US dollars that the run may spend on replies; the search ends before a call that could exceed them."""
    budget_calls: int | None = Field(default=None, ge=0)
    """Most calls to language models that the run may make."""
    llm: CallOptions = CallOptions()
    """How language models are called."""
    stop: Stop = Stop()
    """Early stop."""
    seed: int = 0
    """Seed of the random draws: the rewriter's transformations, and verification inputs."""
    judge: Literal["auto", "cuda", "interpret", "dry", "dry_gpu", "recorded"] = "auto"
    """Backend that judges kernels: `cuda`: verify and time on GPUs; `interpret`: verify in kopt's interpreter and
    estimate times, without a GPU; `dry`: build and judge nothing, make up times from digests; `dry_gpu`: like `dry`,
    with the DAG of a run on GPUs, whose jobs ask for GPUs and lease made-up ones (to try scheduling); `recorded`:
    nothing is built or measured, all comes from the recording that `kopt replay` put into the store; `auto`: `cuda`
    where this machine shows a GPU, else `interpret`."""
    device: str = "h100"
    """Name of a file under `config/devices`: the GPU that kernels are built for in a run without a GPU; with judge
    `cuda` kernels are built for the GPU of the run."""
    benchmark_warmup: int = Field(default=25, ge=0)
    """Warm-up launches of the last timing stage (real GPUs only)."""
    benchmark_repeat: int = Field(default=100, ge=1)
    """Timed launches of the last timing stage (real GPUs only)."""
    workers_per_gpu: int = Field(default=8, ge=1, le=64)
    """Most processes that share one GPU for work that is not timed (real GPUs only); fewer where memory is short."""
    finalists: int = Field(default=6, ge=1, le=100)
    """Fastest kernels of the pool that are verified and timed side by side in each round, in the race of the new
    kernels where the round is one chunk, else anew after it (real GPUs only)."""
    baselines: Annotated[tuple[Baseline, ...], BeforeValidator(lambda v: _names(v))] = (
        "eager",
        "compile",
        "max-autotune",
    )
    """Baselines that the best kernel is timed beside (real GPUs only). `eager`: the reference in eager PyTorch;
    `compile`: under `torch.compile`; `max-autotune`: under `torch.compile(mode="max-autotune")`, compiled twice in
    fresh processes, of which the faster counts. What was compiled is kept in the store."""
    chunk_size: int | None = Field(default=None, ge=1)
    """Most kernels, without duplicates, that one evaluate job judges on a GPU; default: 32, and 64 where jobs are
    submitted to a cluster, since a job takes longer to start there."""
    screen: bool = False
    """Whether kernels are not judged whose estimated times are clearly above the best kernel's (real GPUs only): beyond
    a bound that the errors of the estimates of measured kernels set. A random tenth of these kernels is judged all the
    same, and what the screen costs by this sample is printed. Repairs are always judged."""
    gpu_model: str = Field(default="", pattern=r"^[A-Za-z0-9_.]*$")
    """Model of GPU that jobs ask a cluster for, as the cluster names it (`h100`); default: any."""
    warm: bool | None = None
    """Whether jobs are forked from a warm parent, a process of this user that has imported what jobs need; it starts
    with the first job, and ends with the run, or when it has had no job for three minutes; default: yes, unless jobs
    are submitted to a cluster, where a parent is started for each. No result depends on it."""
    limits: Limits = Limits()
    """Limits of one candidate."""
    results: str = "results"
    """Folder of runs, relative to the working directory."""
    store: str = "results/store"
    """Folder of the store, relative to the working directory; several runs may share a store."""

    @field_validator("run", "problem", mode="before")
    @classmethod
    def _quoted(cls, name: object) -> object:
        if name is None:
            raise ValueError("it has no value")
        if not isinstance(name, str):
            raise ValueError("YAML reads this name as something else than a text: write it in quotes")
        return name

    @field_validator("run")
    @classmethod
    def _not_the_store(cls, name: str) -> str:
        if name in ("store", ".", ".."):
            raise ValueError(f"{name!r} cannot be the name of a run")
        return name

    @field_validator("problem")
    @classmethod
    def _a_folder(cls, name: str) -> str:
        if name in (".", ".."):
            raise ValueError(f"{name!r} cannot be the name of a problem")
        return name


def _names(value: Any) -> Any:  # whatever YAML or a command line holds; pydantic checks what is returned
    if isinstance(value, str):
        value = [name.strip() for name in value.strip("[] ").split(",") if name.strip()]
    if isinstance(value, Iterable):
        value = tuple(value)
        if all(isinstance(name, str) for name in value) and len(set(value)) != len(value):
            raise ValueError("a name stands twice")
    return value
