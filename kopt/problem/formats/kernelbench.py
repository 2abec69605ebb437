"""Read a plain KernelBench file: a folder with one Python file that defines `Model`, `get_inputs`, `get_init_inputs`.

Such a problem declares no workloads.  A file `kernel.py` beside it is its seed kernel (`kopt seed` makes one); without
it the problem has none.  The timed workload is as the file gives it; small, ragged
and hidden ones are derived (`kopt.problem.derive`), for which the reference runs on meta tensors and at small sizes, in
a process of its own.  The dtype is that of the first floating-point input, in KernelBench float32.
"""

from __future__ import annotations

import ast
from contextlib import suppress
from functools import cache
from pathlib import Path

from kopt.errors import ProblemError
from kopt.model.problem import Problem
from kopt.problem.format import Format
from kopt.problem.source import REQUIRED, check_reference, defined, parsed, read_text
from kopt.sandbox.environment import NO_GPU
from kopt.sandbox.fresh import run_with_environment

USUAL = "problem.py"
"""The file's usual name."""

SEED = "kernel.py"
"""The seed kernel's file."""

NATIVE = "problem.yaml"
"""The file that tells that a folder is in kopt's own format."""

DERIVE_S = 300.0
"""Longest time to derive workloads, s."""


def files(folder: Path) -> tuple[Path, ...]:
    """Return the file of the reference, and that of the seed kernel where it exists."""
    references = _references(folder)
    seed = (folder / SEED,) if (folder / SEED).is_file() else ()
    return (references[0] if len(references) == 1 else folder / USUAL, *seed)


def matches(folder: Path) -> bool:
    """Return whether the folder holds exactly one reference, and no file of kopt's own format."""
    return not (folder / NATIVE).exists() and len(_references(folder)) == 1


def read(folder: Path) -> Problem:
    """Read and check the problem in a folder, and derive its workloads.

    Raises:
        ProblemError: one line that says what is wrong and where.
    """
    file, *seed = files(folder)
    problem = read_source(folder.name, read_text(folder, file.name, (file.name,)), file.name)
    if not seed:
        return problem
    source = read_text(folder, SEED, (SEED,))
    if problem.seed.entry not in defined(parsed(source, f"{folder.name}/{SEED}")):
        raise ProblemError(f"{folder.name}/{SEED} defines no {problem.seed.entry}")
    return problem.model_copy(update={"seed": problem.seed.with_source(source)})


def read_source(name: str, source: str, file: str = USUAL) -> Problem:
    """Return the problem of a reference's source, as `read` does."""
    where = f"{name}/{file}"
    check_reference(parsed(source, where), where)
    return _derived(name, source)


@cache
def _derived(name: str, source: str) -> Problem:
    from kopt.problem.derive import with_workloads  # here, because it imports torch

    return run_with_environment(NO_GPU, DERIVE_S, with_workloads, name, source)


def _references(folder: Path) -> list[Path]:
    """Return the Python files of a folder that define what a reference must define."""
    with suppress(OSError):
        return [path for path in sorted(folder.glob("*.py")) if path.is_file() and _is_reference(path)]
    return []


def _is_reference(path: Path) -> bool:
    if path.name == USUAL:
        return True
    with suppress(OSError, UnicodeDecodeError, SyntaxError, ValueError, RecursionError, MemoryError):
        return set(REQUIRED) <= defined(ast.parse(path.read_text(encoding="utf-8-sig")))
    return False


FORMAT = Format(files=files, matches=matches, read=read)
