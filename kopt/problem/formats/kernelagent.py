"""Read a folder of KernelAgent: `problem.py` with the reference, `input.py` with the kernel, `test.py` with the dtype.

The reference is as in KernelBench, the kernel has a `kernel_function`, and both stay as they are.  `test.py` is only
looked at: it casts to the dtype that it assigns to `dtype`, bfloat16 where it assigns none.  Its fixed tolerance is not
used, since kopt calibrates one.
"""

from __future__ import annotations

import ast
from pathlib import Path

from kopt.model.problem import Dtype, Problem
from kopt.problem.caged import complete
from kopt.problem.draft import Draft
from kopt.problem.format import Format
from kopt.problem.source import check_reference, parsed, read_text

REFERENCE, SEED, TEST = FILES = "problem.py", "input.py", "test.py"


def files(folder: Path) -> tuple[Path, ...]:
    """Return the files that the problem is read from."""
    return tuple(folder / name for name in FILES)


def matches(folder: Path) -> bool:
    """Return whether the folder has the three files, and no declaration of kopt's own format."""
    return all((folder / name).is_file() for name in FILES) and not (folder / "problem.yaml").exists()


def draft(folder: Path) -> Draft:
    """Read the three files.

    Raises:
        ProblemError: one line that says what is wrong and where.
    """
    reference, seed, test = (read_text(folder, name, FILES) for name in FILES)
    check_reference(parsed(reference, f"{folder.name}/{REFERENCE}"), f"{folder.name}/{REFERENCE}")
    parsed(seed, f"{folder.name}/{SEED}")
    dtype = _dtype(parsed(test, f"{folder.name}/{TEST}"))
    note = f"{TEST}: dtype {dtype.value}; its fixed tolerance is not used: kopt calibrates one"
    return Draft(name=folder.name, reference=reference, seed=seed, dtype=dtype, notes=(note,))


def read(folder: Path) -> Problem:
    """Read and check the problem in a folder, and derive its workloads.

    Raises:
        ProblemError: one line that says what is wrong and where.
    """
    return complete(draft(folder)).problem


def _dtype(test: ast.Module) -> Dtype:
    """Return the dtype of a statement `dtype = torch.float16`, wherever it stands; else KernelAgent's own."""
    known = {dtype.value: dtype for dtype in Dtype}
    for node in ast.walk(test):
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Attribute)
            and node.value.attr in known
            and any(isinstance(target, ast.Name) and target.id == "dtype" for target in node.targets)
        ):
            return known[node.value.attr]
    return Dtype.BFLOAT16


FORMAT = Format(title="KernelAgent", files=files, matches=matches, draft=draft, read=read)
