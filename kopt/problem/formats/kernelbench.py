"""Read a plain KernelBench file: one Python file that defines `Model`, `get_inputs`, `get_init_inputs`.

It is given as a file, or as a folder with one such file.  Such a problem declares no workloads.  The timed workload is
as the file gives it; small, ragged and hidden ones are derived.  The dtype is that of the first floating-point input,
in KernelBench float32.  A `ModelNew`, in the same file or in another one of the folder, is the kernel to start from.
A file `kernel.py` beside it, as `kopt seed` makes one, comes before a `ModelNew`.
"""

from __future__ import annotations

import ast
from contextlib import suppress
from pathlib import Path

from kopt.errors import ProblemError
from kopt.model.problem import Problem
from kopt.problem.caged import complete
from kopt.problem.draft import Draft
from kopt.problem.format import Format
from kopt.problem.source import REQUIRED, check_reference, defined, parsed, read_text

USUAL = "problem.py"
"""The file's usual name."""

SEED = "kernel.py"
"""The seed kernel's file."""

NATIVE = "problem.yaml"
"""The file that tells that a folder is in kopt's own format."""

MODEL_NEW = "ModelNew"
"""Name of the class that KernelBench asks for."""


def files(folder: Path) -> tuple[Path, ...]:
    """Return the file of the reference, and that of a `ModelNew` where there is one."""
    references, seed = _defining(folder, REQUIRED), folder / SEED
    kernels = [seed] if seed.is_file() else _kernels(folder)
    return (references[0], *kernels) if len(references) == 1 else (folder / USUAL,)


def matches(folder: Path) -> bool:
    """Return whether the folder holds exactly one reference, and no file of kopt's own format; or is such a file."""
    native = (folder / NATIVE).exists() or ((folder / USUAL).exists() and (folder / SEED).exists())
    return not native and len(_defining(folder, REQUIRED)) == 1


def draft(path: Path) -> Draft:
    """Read the file of the reference, and a `ModelNew`.

    Raises:
        ProblemError: one line that says what is wrong and where; two files define a `ModelNew`.
    """
    folder = path.parent if path.is_file() else path
    file, *kernels = files(path)
    source = read_text(folder, file.name, (file.name,))
    where = f"{folder.name}/{file.name}"
    check_reference(parsed(source, where), where)
    if len(kernels) > 1:
        raise ProblemError(f"{folder.name}: {kernels[0].name} and {kernels[1].name} both define {MODEL_NEW}: keep one")
    seed = read_text(folder, kernels[0].name, (kernels[0].name,)) if kernels else ""
    if not seed and MODEL_NEW in defined(ast.parse(source)):
        seed = source
    name, where = (path.stem, file.name) if path.is_file() else (folder.name, where)
    return Draft(name=name, reference=source, file=where, seed=seed)


def read(folder: Path) -> Problem:
    """Read and check the problem in a folder, and derive its workloads.

    Raises:
        ProblemError: one line that says what is wrong and where.
    """
    return complete(draft(folder)).problem


def _kernels(path: Path) -> list[Path]:
    """Return the files of a folder that define a `ModelNew` and no reference."""
    if path.is_file():
        return []
    references = _defining(path, REQUIRED)
    return [file for file in _defining(path, (MODEL_NEW,)) if file not in references]


def _defining(path: Path, names: tuple[str, ...]) -> list[Path]:
    """Return the Python files of a folder that define all of these names; of a file, the file."""
    with suppress(OSError):
        found = [path] if path.is_file() else sorted(path.glob("*.py"))
        return [file for file in found if file.is_file() and _defines(file, names)]
    return []


def _defines(file: Path, names: tuple[str, ...]) -> bool:
    if file.name == USUAL and names == REQUIRED:
        return True
    with suppress(OSError, UnicodeDecodeError, SyntaxError, ValueError, RecursionError, MemoryError):
        return file.suffix == ".py" and set(names) <= defined(ast.parse(file.read_text(encoding="utf-8-sig")))
    return False


FORMAT = Format(title="KernelBench", files=files, matches=matches, draft=draft, read=read)
