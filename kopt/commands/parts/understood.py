"""Describe what `kopt new` understood and wrote, a line for each fact."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from kopt.model.problem import TensorSpec, Workload
from kopt.problem.make import Made
from kopt.winner.size_rules import size_rules

USES = {"main": "timed", "hidden": "verified, not timed", "small": "verified where there is no GPU"}
"""Uses of the workloads, by kind."""


def in_words(made: Made, folder: Path, word: str, before: Path | None) -> list[str]:
    """Describe a new problem for the terminal.

    Args:
        made: the problem and its files.
        folder: where they were written.
        word: the user's word for the problem.
        before: where the folder that was there is kept; None where there was none.
    """
    problem, signature = made.problem, made.signature
    lines = [("problem", f"{problem.name}, {problem.dtypes}, from {made.kind}")]
    lines += [("input", tensor_in_words(spec)) for spec in signature.inputs]
    lines += [("input", value) for value in signature.values]
    lines += [("parameter", tensor_in_words(spec)) for spec in signature.parameters]
    lines += [("output", tensor_in_words(spec)) for spec in signature.outputs]
    if not signature.outputs:
        lines.append(("output", f"none: the reference {signature.returned_in_words}"))
    for kind, use in USES.items():
        lines += [("workload", f"{_workload(w)} ({use})") for w in getattr(problem, kind)]
    if sizes := size_rules(problem, made.given, takes=None)[0]:
        lines.append(("sizes", sizes))
    seed = (
        "kernel.py"
        if problem.has_seed
        else "none; a search makes one of the reference if it can, which kopt check tries; or write kernel.py"
    )
    lines.append(("seed", seed))
    lines += [("kernel", name) for name in made.files if name.startswith("kernels/")]
    lines += [("note", note) for note in made.notes]
    if len(problem.main) > 1:
        lines.append(
            (
                "note",
                f"the {len(problem.main)} timed workloads count alike; `weights` in problem.yaml changes that",
            )
        )
    lines.append(("wrote", f"{folder}/: {', '.join(made.files)}"))
    if before is not None:
        lines.append(("kept", f"the folder that was there is now {before}"))
    lines.append(("next", f"kopt check {word}"))
    return [f"{name:<10} {text}" for name, text in lines]


def tensor_in_words(spec: TensorSpec) -> str:
    """Describe a tensor: name, shape, dtype."""
    return f"{spec.name} {' x '.join(map(str, spec.shape)) or 'one number'}, {spec.dtype}"


def _workload(workload: Workload) -> str:
    return f"{workload.name}: {_sizes(workload.constants.items()) or 'the sizes of problem.py'}"


def _sizes(items: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in items)
