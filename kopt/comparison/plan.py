"""Read the plan of a comparison from a YAML file, and list its searches: strategies × problems × seeds.

name: clustering                     # folder of the comparison, below results
problems: [softmax, rmsnorm]
seeds: [0, 1, 2]
rounds: 4
slots: 24                            # of a round; every strategy's settings must come to it
settings: {models: [kopt-rewrite], candidate_pool_size: 4, num_bottlenecks: 3, samples_per_prompt: 2}
strategies:
  top-k: {strategy: beam}
  clustered: {strategy: clustered}
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, JsonValue, StringConstraints, ValidationError, field_validator

from kopt.artifact import digest
from kopt.comparison.label import Labels
from kopt.config import Config, Names
from kopt.errors import ConfigError, KoptError
from kopt.load_config import explain, read
from kopt.model.base import Documented
from kopt.preflight.validate import Checked, validate
from kopt.problem import folder
from kopt.provenance import files_digest, rule_digest
from kopt.run.layout import MANIFEST
from kopt.run.started import STARTED

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]

OWN = ("problem", "problems", "run", "results", "store", "seed", "rounds", "slots")
"""Settings that follow from the plan."""


class Plan(Documented):
    """A comparison: what is searched, how often, and with which budget."""

    name: Name
    """Name of the comparison: its folder under `results`, which holds its runs."""
    problems: Names = Field(min_length=1)
    """Names of shipped problems, or folders of problems."""
    strategies: dict[Name, dict[str, JsonValue]] = Field(min_length=1)
    """Strategies by the name that the comparison gives them, each with its settings, `preset` among them."""
    seeds: tuple[int, ...] = Field(min_length=1)
    """Seeds of the random draws; every strategy searches every problem once with each."""
    rounds: int = Field(ge=1)
    """Rounds of each search."""
    slots: int = Field(ge=1)
    """Slots of a round, to which every strategy's settings must come."""
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    """Settings of all searches."""
    results: str = "results"
    """Folder of comparisons and runs, relative to the working directory."""
    store: str = "results/store"
    """The store that the searches share, so that nothing is built, judged or measured twice."""
    own_stores: bool = False
    """Whether each search has a store of its own: where GPU seconds are compared, it must not find what others did."""
    cores: int | None = Field(default=None, ge=1)
    """CPU cores of one search; default: all, so that one search runs after the other."""
    gpus: int = Field(default=1, ge=1)
    """GPUs of one search, where its judge uses some."""
    profile: str = Field(default="", pattern=r"^[A-Za-z0-9_./-]*$")
    """A profile of snakemake for the searches, e.g. `profiles/slurm`."""

    @field_validator("name")
    @classmethod
    def _not_the_store(cls, name: str) -> str:
        if name == "store":
            raise ValueError(f"{name!r} cannot be the name of a comparison")
        return name

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) != len(seeds):
            raise ValueError("a seed stands twice")
        return seeds

    @property
    def folder(self) -> str:
        """Folder of the comparison."""
        return f"{self.results}/{self.name}"


@dataclass(frozen=True)
class Search:
    """One search of a comparison."""

    run: str
    """Name of the run: problem, strategy and seed."""
    label: str
    """The strategy's name in the comparison."""
    settings: Mapping[str, JsonValue]
    """All settings that it is given."""
    checked: Checked
    gpus: int
    """GPUs that it holds while it runs; 0 where its judge uses none."""

    @property
    def words(self) -> str:
        """Write the settings as words of a shell, `NAME=VALUE`."""
        return shlex.join(f"{name}={_word(value)}" for name, value in self.settings.items())

    def depends_on(self) -> str:
        """Digest the code and the files outside the run's folder on which the search depends.

        The search's own rules decide which of them run again.
        """
        settings, root = self.checked.settings, self.checked.root
        code = _code(root, settings.backend, bool(settings.asked_models), settings.strategy)
        models = [self.checked.models_file] if settings.asked_models else []
        files = [*self.checked.problem_files, self.checked.device_file, self.checked.taxonomy_file, *models]
        return f"{code}-{files_digest(files)}"


@cache
def _code(root: Path, backend: str, asks_models: bool, strategy: str) -> str:
    scripts = sorted((root / "workflow" / "scripts").glob("*.py"))
    loads = [f"kopt.search.strategies.{strategy}"]
    digests = [rule_digest(script, backend, asks_models=asks_models, loads=loads) for script in scripts]
    rules = files_digest([root / "Snakefile", *sorted((root / "workflow" / "rules").glob("*.smk"))])
    return digest([*digests, rules])


def load_plan(file: Path) -> Plan:
    """Read the plan of a comparison.

    Raises:
        ConfigError: one line that names the file, the key and what to do.
    """
    if not file.is_file():
        raise ConfigError(
            f"{file} cannot be read: it is not a file; name the plan of a comparison (docs/comparison.md)"
        )
    try:
        return Plan.model_validate(read(file))
    except ValidationError as error:
        raise ConfigError(f"{file}: {explain(error, Plan)}") from error


def searches(plan: Plan, root: Path, *, submits: bool = False) -> list[Search]:
    """List the searches of a comparison, seed by seed.

    Every search's settings, problem and folders are checked.

    Args:
        plan: the comparison.
        root: the project's root.
        submits: whether the searches submit their jobs to a cluster.

    Raises:
        KoptError: one line that names the strategy and what is wrong.
    """
    if any((Path(plan.folder) / name).exists() for name in (STARTED, MANIFEST)):
        raise ConfigError(
            f"comparison {plan.name}: {plan.folder} is the folder of a run: name the comparison otherwise"
        )
    for name, given in (("settings", plan.settings), *plan.strategies.items()):
        if own := [key for key in given if key in OWN]:
            raise ConfigError(
                f"comparison {plan.name}: {name}: {own[0]} follows from the comparison itself: leave it out"
            )
    found = [
        _search(plan, problem, label, seed, root, submits)
        for seed in plan.seeds
        for problem in plan.problems
        for label in plan.strategies
    ]
    names = [search.run for search in found]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise ConfigError(
            f"comparison {plan.name}: two searches would be called {twice}: rename a strategy or a problem"
        )
    return found


def labels_of(plan: Plan, found: list[Search]) -> Labels:
    """Return the record that names the strategy of each run of a comparison (`kopt.comparison.label.LABELS`)."""
    return Labels(comparison=plan.name, labels={search.run: search.label for search in found})


def _search(plan: Plan, problem: str, label: str, seed: int, root: Path, submits: bool) -> Search:
    shipped = root / Config().problems
    place = folder.find(problem, shipped).resolve()
    name = f"{place.name.removesuffix('.py').removesuffix('.json')}-{label}-{seed}"
    settings: dict[str, JsonValue] = {
        "problem": place.name, **plan.settings, **plan.strategies[label], "run": name, "results": plan.folder,
        "store": f"{plan.folder}/stores/{name}" if plan.own_stores else plan.store, "rounds": plan.rounds,
        "slots": plan.slots, "seed": seed,
    }  # fmt: skip
    if place.parent != shipped.resolve():
        settings["problems"] = str(place.parent)
    try:
        checked = validate(settings, root, submits=submits)
    except KoptError as error:
        raise type(error)(f"comparison {plan.name}, strategy {label}: {error}") from error
    return Search(name, label, settings, checked, plan.gpus if checked.settings.holds_gpus else 0)


def _word(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value)
