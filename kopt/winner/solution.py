"""Write what solutions of definitions share: one module with a `run` function, and JSON around it."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import Any  # values of JSON

from kopt.errors import ProblemError
from kopt.problem.definition import DEFINITION
from kopt.winner import provenance
from kopt.winner.accepted import patterns
from kopt.winner.source import needed_arguments
from kopt.winner.winner import Winner

FILE = "main.py"
"""The solution's only source file."""


def solution(winner: Winner, spec: Mapping[str, Any]) -> str:
    """Write the JSON of a solution that returns its outputs.

    Args:
        winner: the kernel.
        spec: the fields of the benchmark's build specification beside those that the benchmarks share.

    Raises:
        ProblemError: the reference has parameters, or the kernel takes a value that no input gives and that is no
            constant of the reference.
    """
    shared = {"entry_point": f"{FILE}::run", "dependencies": [], "destination_passing_style": False}
    value = {
        "name": f"kopt_{winner.problem.name}_{winner.name}",
        "definition": _definition(winner),
        "author": f"kopt {winner.versions.get('kopt', '')}".strip(),
        "description": f"{winner.problem.name} by {winner.name}; provenance stands in {FILE}",
        "spec": {**spec, **shared},
        "sources": [{"path": FILE, "content": _main(winner)}],
    }
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _definition(winner: Winner) -> str:
    """Return the name of the definition that the problem was made from, else the problem's own name."""
    return str(_constants(winner.problem.reference).get(DEFINITION, winner.problem.name))


def _main(winner: Winner) -> str:
    kernel, entry = winner.text, winner.problem.seed.entry
    inputs = [one.name for one in _inputs(winner)]
    given = ", ".join([*inputs, *(f"{name}={value!r}" for name, value in _further(winner, len(inputs)).items())])
    head = f"{provenance.docstring(winner)}\n\n{provenance.comments(winner)}"
    run = f'def run({", ".join(inputs)}):\n    """Return the outputs."""\n    return {entry}({given})'
    return "\n\n\n".join(part for part in (head, kernel.imports, kernel.body, run) if part) + "\n"


def _inputs(winner: Winner) -> list[Any]:
    """Return the patterns of the inputs, tensors and plain values.

    Raises:
        ProblemError: there are parameters or buffers too, or an input is inside a list or dictionary.
    """
    wanted = patterns(winner.given, winner.problem.name)
    state = [one.name for one in wanted if not one.is_input]
    if state:
        raise ProblemError(
            f"{winner.problem.name}: its parameters ({state[0]}, ...) are no inputs, which definitions need: use "
            "--as module"
        )
    return list(wanted)


def _further(winner: Winner, inputs: int) -> dict[str, Any]:
    """Return the values of the entry point's parameters that no input gives and that have no default, by name.

    Raises:
        ProblemError: one is no constant of the reference, or differs between the workloads.
    """
    problem = winner.problem
    constants = _constants(problem.reference)
    varied = {name for workload in (*problem.main, *problem.hidden, *problem.small) for name in workload.constants}
    needed = needed_arguments(winner.source, problem.seed.entry)[inputs:]
    for name in needed:
        if name not in constants or name in varied:
            why = "differs between the workloads" if name in varied else "is no number that the reference names"
            raise ProblemError(f"{problem.name}: the kernel takes {name!r}, which {why}: use --as module")
    return {name: constants[name] for name in needed}


def _constants(source: str) -> dict[str, Any]:
    """Return the literals that a module binds to names at its top level."""
    found: dict[str, Any] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            try:
                found[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                found.pop(node.targets[0].id, None)
    return found
