"""Write a problem as a folder in kopt's own format: all of it or nothing."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from kopt.errors import ProblemError
from kopt.model.problem import Layout, Problem, Workload
from kopt.problem.literals import literals

KINDS = {
    "main": "timed; the objective is the geometric mean over them (weights: {NAME: 2} counts one more)",
    "hidden": "other shapes, for verification alone",
    "small": "for kopt's interpreter, where there is no GPU; a check should take a second or less",
}
"""Kinds of workload, each with its purpose."""


def texts(problem: Problem, reference: str, kernels: Mapping[str, str]) -> dict[str, str]:
    """Return the texts of a problem's files by name.

    Args:
        problem: the problem.
        reference: text of `problem.py`, in which numbers need no names yet.
        kernels: further kernels by file name.
    """
    files = {"problem.py": reference, "problem.yaml": declaration(problem, reference)}
    if problem.has_seed:
        files["kernel.py"] = problem.seed.source
    return files | {f"kernels/{name}": source for name, source in kernels.items()}


def declaration(problem: Problem, reference: str) -> str:
    """Write `problem.yaml`."""
    lines = [f"dtype: {problem.dtype.value}"]
    if problem.keep_dtypes:
        lines.append("keep_dtypes: true  # inputs and parameters are given as problem.py makes them")
    lines.append("workloads:  # by name: the constants of problem.py to replace")
    for kind, purpose in KINDS.items():
        workloads: tuple[Workload, ...] = getattr(problem, kind)
        if workloads:
            lines += [f"  {kind}:  # {purpose}", *(f"    {_flow({w.name: w.constants})}" for w in workloads)]
    if problem.layout is not Layout.REFERENCE:
        lines.append("layout: any  # outputs may have other strides than the reference's")
    if problem.tolerance is not None:
        lines.append(_flow({"tolerance": problem.tolerance.model_dump()}))
    if problem.mutates:
        lines.append(_flow({"mutates": list(problem.mutates)}))
    if problem.inputs:
        rules = {name: rule.model_dump(mode="json", exclude_none=True) for name, rule in problem.inputs.items()}
        lines.append(_flow({"inputs": rules}))
    if problem.floor:
        lines.append(_flow({"floor": {name: floor.model_dump() for name, floor in problem.floor.items()}}))
    if problem.weights:
        lines.append(_flow({"weights": dict(problem.weights)}) + "  # in the objective; 1 for the others")
    used = {name for w in (*problem.main, *problem.hidden, *problem.small) for name in w.constants}
    numbers = [literal for literal in literals(reference) if literal.name in used]
    lines += [f"# {own.name} is the number {own.value} in line {own.line + 1} of problem.py" for own in numbers]
    return "\n".join(lines) + "\n"


def _flow(value: Mapping[str, object]) -> str:
    """Write a mapping of one key in one line."""
    ((key, content),) = value.items()
    text = yaml.safe_dump(content, default_flow_style=True, width=10_000, sort_keys=False).strip()
    return f"{yaml.safe_dump(key).split(chr(10))[0]}: {text}"


def write_folder(folder: Path, files: Mapping[str, str], *, force: bool) -> Path | None:
    """Write a folder: first beside its place under another name, then renamed.

    Args:
        folder: the folder to make.
        files: texts by name.
        force: whether a folder that is there is replaced; it is kept under another name.

    Returns:
        The place of the folder that was there; None where there was none.

    Raises:
        ProblemError: the folder is there and `force` is not given, or cannot be written.
    """
    check_free(folder, force=force)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            _fill(scratch, files.items())
            scratch.chmod(0o755)
            before = _moved(folder) if folder.exists() else None
            scratch.rename(folder)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
    except OSError as error:
        raise ProblemError(f"{folder} cannot be written: {error.strerror}") from error
    return before


def check_free(folder: Path, *, force: bool) -> None:
    """Refuse a place that is taken.

    Raises:
        ProblemError: something is there, and is no folder or is not to be replaced.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ProblemError(f"{folder} is there and is no folder: choose another name")
    if folder.exists() and not force:
        raise ProblemError(f"{folder} is there already: choose another name, or --force to replace it")


def _fill(folder: Path, files: Iterable[tuple[str, str]]) -> None:
    for name, text in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _moved(folder: Path) -> Path:
    """Move a folder out of the way, and return its new place."""
    count = 1
    while (place := folder.with_name(f".{folder.name}.before{count}")).exists():
        count += 1
    folder.rename(place)
    return place
