"""Read a definition of SOL-ExecBench or FlashInfer-Bench, with its workloads and solutions.

It is given as `definition.json` or as the folder of that file, with workloads in `*.jsonl` and solutions in
`solution*.json` beside it; or as a file of a FlashInfer-Trace data set (`definitions/`, `workloads/`, `solutions/`).
A solution in Triton is the kernel to start from, whether it returns its outputs or takes them as arguments.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from kopt.errors import ProblemError, with_place
from kopt.model.problem import Layout, Problem, Workload
from kopt.problem.caged import complete
from kopt.problem.definition import check, kernel_of, reference_of, without_value_asserts
from kopt.problem.definition_schema import Definition, Foreign, Solution, Variable, WorkloadEntry
from kopt.problem.draft import Draft
from kopt.problem.format import Format
from kopt.problem.source import read_text

USUAL = "definition.json"

MOST_WORKLOADS = 4
"""Most timed workloads; where there are more, some are chosen from the smallest to the largest."""

F = TypeVar("F", bound=Foreign)


def files(path: Path) -> tuple[Path, ...]:
    """Return the definition's file, and those of its workloads and solutions that exist."""
    file = _file(path)
    return (file, *_beside(file, "workload*.jsonl", "workloads"), *_beside(file, "solution*.json", "solutions"))


def matches(path: Path) -> bool:
    """Return whether a folder holds a `definition.json`, or a file is one."""
    file = _file(path)
    if path.is_dir():
        return file.is_file()
    with suppress(OSError, ValueError, RecursionError):
        return file.suffix == ".json" and {"axes", "inputs", "reference"} <= set(json.loads(file.read_text()))
    return False


def draft(path: Path) -> Draft:
    """Read the definition, its workloads and its solutions.

    Raises:
        ProblemError: one line that says what is wrong and where.
    """
    file = _file(path)
    name = file.parent.name if file.name == USUAL else file.stem
    definition = _value(Definition, _text(file), f"{name}/{file.name}")
    check(definition)
    reference, left_out = without_value_asserts(definition.reference)
    definition = definition.model_copy(update={"reference": reference})
    notes = [f"assertions on values left out of the reference: {left_out}; at full size tensors have no values"]
    notes = notes if left_out else []
    entries = _usable(list(_entries(file, definition, notes)), definition, notes)
    chosen = _spread(entries, notes)
    varying = _varying(chosen, notes)
    kernels = dict(_kernels(file, definition, notes))
    seed = next(iter(kernels.values()), "")
    return Draft(
        name=name, reference=reference_of(definition, chosen[0], varying), seed=seed,
        kernels={f"{own}.py": source for own, source in list(kernels.items())[1:]},
        main=tuple(_workloads(chosen, definition, varying)), layout=Layout.ANY, notes=tuple(notes),
    )  # fmt: skip


def read(path: Path) -> Problem:
    """Read and check the problem in a folder, and derive its small workloads.

    Raises:
        ProblemError: one line that says what is wrong and where.
    """
    return complete(draft(path)).problem


def _file(path: Path) -> Path:
    return path / USUAL if path.is_dir() else path


def _beside(file: Path, pattern: str, kind: str) -> list[Path]:
    """Return the files beside a definition, in a folder of their kind, or in that part of its data set."""
    near = [*file.parent.glob(pattern), *(file.parent / kind).rglob("*.json*")]
    data_set = next((parent.parent for parent in file.parents if parent.name == "definitions"), None)
    far = [] if data_set is None else (data_set / kind).rglob(f"*{file.stem}*" if kind == "workloads" else "*.json")
    return sorted(path for path in {*near, *far} if path.is_file())


def _entries(file: Path, definition: Definition, notes: list[str]) -> Iterator[WorkloadEntry]:
    """Yield the workloads, each a line alone or within a trace."""
    for path in _beside(file, "workload*.jsonl", "workloads"):
        for number, line in enumerate(_text(path).splitlines(), 1):
            if line.strip():
                where = f"{path.name}, line {number}"
                raw = _json(line, where)
                if raw.get("definition", definition.name) == definition.name:
                    yield _value(WorkloadEntry, raw.get("workload", raw), where)


def _usable(entries: Sequence[WorkloadEntry], definition: Definition, notes: list[str]) -> list[WorkloadEntry]:
    """Return the workloads whose inputs can be drawn anew.

    Raises:
        ProblemError: there is none.
    """
    variable = [name for name, axis in definition.axes.items() if isinstance(axis, Variable)]
    if not entries and not variable and all(spec.shape is not None for spec in definition.inputs.values()):
        return [WorkloadEntry(axes={}, inputs={})]
    if not entries:
        raise ProblemError(
            f"{definition.name}: no workloads were found, which give sizes to {', '.join(variable) or 'its inputs'}: "
            'put workload.jsonl beside definition.json, with lines like {"axes": {…}, "inputs": {…}}'
        )
    stored = {name for e in entries for name, source in e.inputs.items() if source.type == "safetensors"}
    whole = {name for name in stored if not definition.inputs[name].dtype.startswith(("float", "bfloat"))}
    if stored - whole:
        notes.append(f"{', '.join(sorted(stored - whole))}: drawn at random, not read from safetensors")
    usable = [e for e in entries if not any(n in whole and s.type == "safetensors" for n, s in e.inputs.items())]
    if not usable:
        raise ProblemError(
            f"{definition.name}: all workloads read {', '.join(sorted(whole))} from safetensors; kopt draws new inputs "
            "for every verdict and cannot draw such integers: give the definition a custom_inputs_entrypoint"
        )
    if len(usable) < len(entries):
        notes.append(f"{len(entries) - len(usable)} workloads are left out: they read integers from safetensors")
    return usable


def _spread(entries: list[WorkloadEntry], notes: list[str]) -> list[WorkloadEntry]:
    """Return at most `MOST_WORKLOADS`, from the largest to the smallest."""
    ordered = sorted({tuple(sorted(e.axes.items())): e for e in entries}.values(), key=lambda e: -prod(e.axes.values()))
    count = len(ordered)
    if count > MOST_WORKLOADS:
        notes.append(f"{MOST_WORKLOADS} of {count} workloads are timed; add others in problem.yaml")
        ordered = [ordered[at * (count - 1) // (MOST_WORKLOADS - 1)] for at in range(MOST_WORKLOADS)]
    return ordered


def _varying(entries: Sequence[WorkloadEntry], notes: list[str]) -> dict[str, int]:
    """Return the whole numbers among the inputs that differ between workloads, with the first one's values."""
    varying: dict[str, int] = {}
    for name, source in entries[0].inputs.items():
        values = [entry.inputs[name].value for entry in entries if name in entry.inputs]
        if source.type != "scalar" or len(set(values)) == 1:
            continue
        if isinstance(source.value, int) and all(type(value) is int for value in values):
            varying[name] = source.value
        else:
            notes.append(f"{name} differs between workloads; {source.value!r} is used in all")
    return varying


def _workloads(entries: Sequence[WorkloadEntry], definition: Definition, varying: dict[str, int]) -> Iterator[Workload]:
    """Yield the timed workloads; the first one has the sizes that the module has."""
    variable = [name for name, axis in definition.axes.items() if isinstance(axis, Variable)]
    differing = [axis for axis in variable if len({entry.axes[axis] for entry in entries}) > 1]
    for at, entry in enumerate(entries):
        name = "_".join(f"{axis}{entry.axes[axis]}" for axis in differing) or "given"
        sizes = {axis: entry.axes[axis] for axis in variable}
        sizes |= {own: value for own in varying if isinstance(value := entry.inputs[own].value, int)}
        yield Workload(name=name, constants=sizes if at else {})


def _kernels(file: Path, definition: Definition, notes: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the names and sources of solutions that kopt can run, those in Triton first."""
    solutions = []
    for path in _beside(file, "solution*.json", "solutions"):
        raw = _json(_text(path), path.name)
        if raw.get("definition") == definition.name:
            solutions.append(_value(Solution, raw, path.name))
    for solution in sorted(solutions, key=lambda one: "triton" not in (*one.spec.languages, one.spec.language)):
        try:
            yield re.sub(r"[^\w.-]+", "_", solution.name), kernel_of(definition, solution)
        except ProblemError as error:
            notes.append(f"solution {solution.name} is left out: {error}")


def _text(file: Path) -> str:
    return read_text(file.parent, file.name, (USUAL, "workload.jsonl"))


def _json(text: str, where: str) -> dict[str, object]:
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProblemError(f"{where} is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise ProblemError(f"{where} is a JSON {type(raw).__name__}, not an object")
    return raw


def _value(kind: type[F], raw: object, where: str) -> F:
    try:
        return kind.model_validate(_json(raw, where) if isinstance(raw, str) else raw)
    except ValidationError as error:
        raise ProblemError(f"{where}: {with_place(error.errors(include_url=False)[0])}") from error


FORMAT = Format(title="SOL-ExecBench or FlashInfer-Bench", files=files, matches=matches, draft=draft, read=read)
