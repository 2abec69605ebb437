"""Tell the circumstances of a run in words: how it was started, who its proposers are, on which sizes it judged."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath

from kopt.artifact import read_plain
from kopt.errors import CorruptArtifact
from kopt.model.outcome import BEST
from kopt.model.problem import Problem, TensorSpec, Workload
from kopt.model.proposers import ECHO, NOBODY, REWRITER
from kopt.model.verdict import Check, Passed
from kopt.report.record import WorkloadSizes
from kopt.run.manifest import UNRECORDED
from kopt.run.started import Started
from kopt.run.value import Run
from kopt.run_settings import RunSettings
from kopt.winner.source import needed_arguments

MODELS = "models.json"
"""File of a run's folder: the part of the table of models that the run used."""

ELSEWHERE = {"--configfile", "--configfiles", "--profile", "--workflow-profile"}
"""Options of Snakemake that take settings from a file."""

KEPT = {*ELSEWHERE, "--snakefile", "-s", "--cores", "-c", "--jobs", "-j", "--resources", "--config", "-C"}
"""Options of Snakemake that say what is searched, and on what."""

OWN = {
    REWRITER: "kopt's own rewriter: source-to-source transformations, no language model, no cost",
    ECHO: "a stand-in that numbers its parent's source",
    NOBODY: "nobody was asked",
}
"""Describes the proposers that are no language models."""

BY = {
    "exchange": "its replies were written by people or other programs, through the exchange folder",
    "replay": "its replies are replayed; no model was asked",
    "slots": "its replies are those that the recorded search's slots had; no model was asked",
}
"""Describes who answered for a language model, by the setting `replies`."""


def command_again(started: Started | None, run: Run) -> str:
    """Return the command that makes a search again, under another name: of `kopt run` where that says all.

    Else it is Snakemake's.  Under its own name a finished search has nothing left to do.  Options that say how a start
    goes on (`--forcerun`, `--quiet`, ...) are left out, and so are settings on which no result depends.  Empty where no
    start is recorded, and for a replay, whose archive has a name of its own.
    """
    if started is None or RunSettings(run.config).replayed:
        return ""
    options = {name: words for name, *words in _options(started.words) if name in KEPT}
    settings = [word for word in options.get("--config", []) if word.partition("=")[0] not in UNRECORDED]
    again = f"{run.name}-again"
    settings = [word for word in settings if word.partition("=")[0] != "run"]
    if "--config" in options:
        options["--config"] = [*settings, f"run={again}"]
    given = {name: value for name, _, value in (word.partition("=") for word in settings)}
    if not {"preset", "models", "problem"} <= set(given) or not ELSEWHERE.isdisjoint(options):
        options.setdefault("--config", [f"run={again}"])
        return shlex.join(["snakemake", *(word for name, words in options.items() for word in (name, *words))])
    preset = given.pop("preset")
    place = "/".join(filter(None, (given.pop("problems", ""), given.pop("problem"))))
    return shlex.join(
        ["kopt", "run", place, "--name", again, "--preset", preset, *(f"{n}={v}" for n, v in given.items())]
    )


def _options(words: Sequence[str]) -> list[list[str]]:
    """Part a command line into options, each with its values."""
    parts: list[list[str]] = []
    for word in words[1:]:
        if word.startswith("-"):
            name, sign, value = word.partition("=")
            parts.append([name, *([value] if sign else [])])
        elif parts:
            parts[-1].append(word)
    return parts


def folder_named(run: Run) -> str:
    """Return the folder of a run as its settings name it."""
    return str(PurePath(run.config.results) / run.name)


def call_of(run: Run, source: str) -> str:
    """Write a call of the best kernel from Python, with the inputs of the first timed workload.

    Parameters of the entry point that no input gives and that have no default are named, those of the model as its
    attributes.

    Args:
        run: the run.
        source: of the best kernel's module.
    """
    entry = run.problem.seed.entry
    every = run.facts.given[0].arguments if run.facts.given else ()
    inputs = [one.name for one in every if one.is_input] or [
        spec.name if spec.name.isidentifier() else f"input{place}"
        for place, spec in enumerate(run.facts.workloads[0].inputs if run.facts.workloads else ())
    ]
    paths = {short: one.name for one in every if not one.is_input for short in _short_names(one.name)}
    further = [
        f"{name}=model.{paths[name]}" if name in paths else f"{name}={name}"
        for name in needed_arguments(source, entry)[len(inputs) :]
    ]
    return f"y = {entry}({', '.join([*inputs, *further])})"


def _short_names(path: str) -> tuple[str, str]:
    """Return the names by which an entry point may ask for a parameter or buffer of the model."""
    return path.replace(".", "_"), path.rpartition(".")[2]


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


def workload_sizes(run: Run, checks: Iterable[Check]) -> tuple[WorkloadSizes, ...]:
    """List the sizes of a run's workloads by the names that checks have, with what each was used for.

    Args:
        run: the run.
        checks: checks of the best kernel's verdict; those of the run's end are known without.
    """
    final = run.outcome.finals.verdicts.get(BEST) if run.outcome else None
    known = [*checks, *(final.checks if isinstance(final, Passed) else ())]
    checked = {check.workload for check in known}
    on_gpu = RunSettings(run.config).measures
    inputs = {one.workload: one.inputs for one in run.facts.workloads}
    named = named_workloads(run.problem, distinct=on_gpu)
    return tuple(
        WorkloadSizes(
            name=name,
            title=_title(kind, workload),
            sizes=_tensors(inputs[name]) if kind == "main" and name in inputs else _constants(workload),
            timed=kind == "main",
            checked=name in checked and (on_gpu or kind == "small") if checked else None,
        )
        for kind, name, workload in named
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


def workload_titles(problem: Problem, *, distinct: bool) -> dict[str, str]:
    """Return names of workloads for people, with their kinds, by the names that checks have; as `named_workloads`.

    Where workloads share a name, it is that of the small one, which alone is verified without a GPU.
    """
    return {name: _title(kind, workload) for kind, name, workload in named_workloads(problem, distinct=distinct)}


def _title(kind: str, workload: Workload) -> str:
    return f"{'timed' if kind == 'main' else kind} {workload.name}"


def _tensors(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{spec.name} {spec.dtype}[{', '.join(map(str, spec.shape))}]" for spec in specs)


def _constants(workload: Workload) -> str:
    return ", ".join(f"{name}={value}" for name, value in workload.constants.items()) or "as in the reference"
