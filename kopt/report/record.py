"""Define the value that holds everything that a report shows."""

from __future__ import annotations

from pydantic import Field

from kopt.model.base import Value
from kopt.model.cost import LabelledCost
from kopt.model.diagnosis import Diagnosis, Profile
from kopt.model.environment import Environment
from kopt.model.trial import RoundSummary, SelectionRow, Trial
from kopt.report.details import JobSpan, KernelDetail, Roof
from kopt.report.numbers import ESTIMATE_ERROR


class Comparison(Value):
    """A kernel or baseline that was measured beside the best kernel, call by call."""

    name: str
    """`seed`, `eager`, `compile` or `max-autotune`."""
    ms: float
    """Time, ms: geometric mean over the main workloads."""
    speedup: float
    """Ratio of the time to the best kernel's, the median over pairs of calls; above 1 the best kernel is faster."""
    low: float
    """Lower end of the ratio's 95 % confidence interval."""
    high: float
    compilations_ms: tuple[float, ...] = ()
    """Time of each compilation, ms, of a baseline that was compiled several times; `ms` is the fastest's."""


class Limits(Value):
    """What limits the best kernel, and what to try next."""

    profile: Profile | None = None
    diagnosis: Diagnosis | None = None
    as_parent: bool = False
    """Whether the search made both, of a parent; else rules made them when the report was written."""
    note: str = ""
    """Why there is neither; empty otherwise."""
    shortfall: str = ""
    """Why the best kernel is far from the roofline, in words; empty where it is not far, or nothing says why."""


class Baseline(Value):
    """One of PyTorch's own ways of which no time was measured."""

    name: str
    """`eager`, `compile` or `max-autotune`."""
    ms: float | None
    """Estimated time, ms; None where it is not estimated."""
    origin: str
    """How the time was worked out, or why there is none."""


class FinalFigures(Value):
    """The figures of a run: its best kernel against the seed and the baselines."""

    best_name: str
    """Name of the first candidate with the best kernel (`r2a0s17`; `r0a0s0` when no kernel beat the seed)."""
    description: str = ""
    """The proposer's description of the best candidate's change."""
    best_ms: float
    seed_ms: float
    speedup: float
    """Seed's time over the best kernel's; above 1 the best kernel is faster."""
    against: tuple[Comparison, ...] = ()
    """Comparisons with the kernels and baselines measured beside the best kernel; empty for estimates."""
    workloads: dict[str, float] = Field(default_factory=dict)
    """Measured time of the best kernel on each main workload, ms; empty for estimates."""
    eager_ms: float | None = None
    """Time of the reference in PyTorch eager mode, ms; None when it was not timed."""
    compile_ms: float | None = None
    """Time of the reference under `torch.compile`, ms; None when it was not timed."""
    interval: tuple[float, float] | None = None
    """95 % confidence interval of the best time, ms; None for an estimate."""
    estimated: bool
    """True when these times are estimated from builds, False when all were measured on the device."""
    roofline_share: float
    """Share of the speed of light that the best kernel reaches, 0 to 1."""
    ample_ms: float = 0.0
    """Time to move every element of every tensor once, or to do the reference's arithmetic, ms; 0 where not known."""

    @property
    def faster_baselines(self) -> tuple[tuple[str, float], ...]:
        """Names and times of PyTorch's ways that beat the best kernel beyond doubt, fastest first."""
        if self.against:
            faster = [(one.name, one.ms) for one in self.against if one.name != "seed" and one.high < 1]
        else:
            timed = (("eager", self.eager_ms), ("compile", self.compile_ms))
            least = self.best_ms * (1 - ESTIMATE_ERROR) if self.estimated else self.best_ms
            faster = [(name, ms) for name, ms in timed if ms is not None and ms < least]
        return tuple(sorted(faster, key=lambda pair: pair[1]))


class Diagnosed(Value):
    """The diagnosis of one parent: the model or the rules that made it, and the bottlenecks that it names."""

    round: int
    place: int
    """Place of the parent in its round's selection, from 1."""
    parent: str
    """Name of the first candidate with the parent's kernel."""
    source: str
    """`rules`, the name of a model, or why rules replaced the model."""
    bottlenecks: tuple[str, ...]
    """Most promising first."""


class Agreed(Value):
    """Agreement of facts and a language model on one technique over the whole run, in kernels."""

    technique: str
    both: int
    """Kernels of which both said the same."""
    facts_only: int
    """Kernels in which only facts saw the technique."""
    model_only: int
    """Kernels in which only the model saw the technique."""


class Lessons(Value):
    """The lessons that a language model drew from one round."""

    round: int
    worked: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()


class WorkloadSizes(Value):
    """The sizes of one workload, and what it was used for."""

    name: str
    """Name that checks have."""
    title: str = ""
    """Name for people, with the kind before it: `small ragged`; empty: the name."""
    sizes: str
    """Shapes of the inputs of a timed workload; of another one the values of the reference's constants."""
    timed: bool
    """Whether kernels are timed on it, or their times estimated for it."""
    checked: bool | None
    """Whether the best kernel's results on it were compared with the reference's; None where no check is recorded."""


class RunRecord(Value):
    """A whole run, as its report shows it."""

    run: str
    problem: str
    preset: str = ""
    models: tuple[str, ...]
    """Proposers, in the configuration's order."""
    strategy: str
    clustering: bool
    """Whether selection went round-robin over clusters of equal techniques."""
    seed: int
    """Seed of all random draws."""
    judge: str
    """Name of the backend: `interpret`, `cuda`, `recorded`, `dry` or `dry_gpu`."""
    device: str
    """Name of the device for which the times hold."""
    configuration: str
    """The resolved configuration, as YAML."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Versions of the packages with which the page was written."""
    measured_with: Environment | None = None
    """Driver, PyTorch and Triton with which the headline was measured; None for estimates."""
    folder: str = ""
    """The run's folder, as its start named it; empty: `results/<run>`."""
    call: str = ""
    """A call of the best kernel from Python: `y = kernel_function(x)`."""
    command: str = ""
    """Command that makes the search again, under another name; empty where no start is recorded."""
    asks_people: bool = False
    """Whether replies came through the exchange folder, so that the search asks for them again."""
    repairs: int = 0
    """Most repairs of a slot in a round."""
    proposers: dict[str, str] = Field(default_factory=dict)
    """Each proposer and other language model in a few words."""
    workloads: tuple[WorkloadSizes, ...] = ()
    asked_to_fix: dict[str, str] = Field(default_factory=dict)
    """Bottleneck that a candidate was asked to fix, by its name."""
    counters: dict[str, str] = Field(default_factory=dict)
    """Description of each hardware counter, by its name."""
    rounds: tuple[RoundSummary, ...] = Field(min_length=1)
    """From round 0, which is the seed alone."""
    trials: tuple[Trial, ...]
    same_source: dict[str, str] = Field(default_factory=dict)
    """By its name, the first candidate whose source a candidate's equals but for names and comments."""
    selections: tuple[tuple[SelectionRow, ...], ...]
    """Parents that each round selected, from round 0."""
    best_source: str
    seed_source: str
    final: FinalFigures
    baselines: tuple[Baseline, ...] = ()
    """PyTorch's ways that the settings name and of which no time was measured."""
    limits: Limits = Limits()
    taxonomy: tuple[str, ...] = ()
    """Names of the techniques, in bit order."""
    costs: tuple[LabelledCost, ...] = ()
    """Costs of replies, by label; empty in a run without language models."""
    diagnoses: tuple[Diagnosed, ...] = ()
    agreed: tuple[Agreed, ...] = ()
    """Agreement by technique, where facts and a model both classified."""
    lessons: tuple[Lessons, ...] = ()
    """Lessons by round, where a model reflected."""
    kernels: tuple[KernelDetail, ...] = ()
    """Kernels that open on the page, most telling first."""
    jobs: tuple[JobSpan, ...] = ()
    """When the jobs of the run worked; empty where no record of them is at hand."""
    roofs: tuple[Roof, ...] = ()
    """What each main workload demands."""
