"""Tell the circumstances of a run in words: how it was started, who its proposers are, on which sizes it judged."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from kopt.artifact import read_plain
from kopt.errors import CorruptArtifact
from kopt.model.problem import Problem, TensorSpec, Workload
from kopt.model.proposers import ECHO, NOBODY, REWRITER
from kopt.report.record import WorkloadSizes
from kopt.run.started import Started
from kopt.run.value import Run
from kopt.run_settings import RunSettings

MODELS = "models.json"
"""File of a run's folder: the part of the table of models that the run used."""

OWN = {
    REWRITER: "kopt's own rewriter: source-to-source transformations, no language model, no cost",
    ECHO: "a stand-in that numbers its parent's source",
    NOBODY: "nobody was asked",
}
"""Describes the proposers that are no language models."""

BY = {
    "exchange": "its replies were written by people or other programs, through the exchange folder",
    "replay": "its replies are replayed; no model was asked",
}
"""Describes who answered for a language model, by the setting `replies`."""


def command_again(started: Started | None, run: Run) -> str:
    """Return the command that makes a search again: `kopt run` where that says all, else the one that was given.

    Empty where no start is recorded, or where the run is a replay, whose archive has a name of its own.
    """
    if started is None or RunSettings(run.config).replayed:
        return ""
    words = list(started.words)
    given = _settings(words)
    if given is None or not {"preset", "models", "problem"} <= set(given):
        return shlex.join(words)
    name, preset = given.pop("run", ""), given.pop("preset")
    place = "/".join(filter(None, (given.pop("problems", ""), given.pop("problem"))))
    settings = [f"{name}={value}" for name, value in given.items()]
    named = ["--name", name] if name else []
    return shlex.join(["kopt", "run", place, *named, "--preset", preset, *settings])


def _settings(words: list[str]) -> dict[str, str] | None:
    """Return the settings of a command line of Snakemake; None where it takes some from elsewhere."""
    if "--config" not in words or any(word.startswith(("--configfile", "--profile")) for word in words):
        return None
    rest = words[words.index("--config") + 1 :]
    last = next((place for place, word in enumerate(rest) if word.startswith("-")), len(rest))
    return {name: value for name, _, value in (word.partition("=") for word in rest[:last])}


def proposers_in_words(run: Run, folder: Path) -> dict[str, str]:
    """Describe each proposer and other language model of a run in a few words."""
    settings = RunSettings(run.config)
    table = _models(folder)
    names = dict.fromkeys([*settings.proposers, *settings.asked_models])
    return {name: OWN.get(name) or _in_words(table.get(name), settings.replies) for name in names}


def _models(folder: Path) -> Mapping[str, Mapping[str, object]]:
    try:
        models = json.loads(read_plain(folder / MODELS))["models"]
    except (OSError, CorruptArtifact, ValueError, TypeError, KeyError):
        return {}
    return models if isinstance(models, dict) else {}


def _in_words(entry: Mapping[str, object] | None, replies: str) -> str:
    price = entry.get("price") if entry else None
    rates = [price.get(name) for name in ("input", "output")] if isinstance(price, dict) else []
    known = [rate for rate in rates if isinstance(rate, int | float)]
    parts = [BY.get(replies, f"{entry.get('api_model')} by the protocol {entry.get('provider')}" if entry else "")]
    if len(known) == 2:
        paid = (
            f"${known[0]:g} for a million tokens of input, ${known[1]:g} of output" if any(known) else "it has no price"
        )
        parts.append(paid)
    return "; ".join(filter(None, parts))


def workload_sizes(run: Run, checked: frozenset[str]) -> tuple[WorkloadSizes, ...]:
    """List the sizes of a run's workloads by the names that checks have, with what each was used for.

    Args:
        run: the run.
        checked: names of the workloads of the best kernel's checks.
    """
    on_gpu = RunSettings(run.config).measures
    inputs = {one.workload: one.inputs for one in run.facts.workloads}
    return tuple(
        WorkloadSizes(
            name=name,
            sizes=_tensors(inputs[name]) if kind == "main" and name in inputs else _constants(workload),
            timed=kind == "main",
            checked=name in checked and (on_gpu or kind == "small"),
        )
        for kind, name, workload in named_workloads(run.problem, distinct=on_gpu)
    )


def named_workloads(problem: Problem, *, distinct: bool) -> list[tuple[str, str, Workload]]:
    """List kind, name and value of each workload.

    Args:
        problem: the problem.
        distinct: whether workloads of a kind get the kind before their names where one has an earlier one's name, as
            the judge on a GPU names them.
    """
    found: list[tuple[str, str, Workload]] = []
    for kind, workloads in (("main", problem.main), ("hidden", problem.hidden), ("small", problem.small)):
        earlier = {name for _, name, _ in found}
        clash = distinct and any(workload.name in earlier for workload in workloads)
        found += [(kind, f"{kind} {one.name}" if clash else one.name, one) for one in workloads]
    return found


def _tensors(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{spec.name} {spec.dtype}[{', '.join(map(str, spec.shape))}]" for spec in specs)


def _constants(workload: Workload) -> str:
    return ", ".join(f"{name}={value}" for name, value in workload.constants.items()) or "as in the reference"
