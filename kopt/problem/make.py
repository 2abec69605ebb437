"""Make a problem of a source that a user names: a file, a folder, or a function with example inputs.

Files are read here; what runs code of the source runs in the cage.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kopt.errors import ProblemError, nearest
from kopt.model.base import Value
from kopt.model.problem import Dtype, Given, Problem
from kopt.model.signature import Signature
from kopt.problem import function
from kopt.problem.backward import gradient_of
from kopt.problem.caged import DERIVE_S, caged, complete
from kopt.problem.derive import Derived
from kopt.problem.draft import Draft
from kopt.problem.folder import formats
from kopt.problem.model_new import check_kernel
from kopt.problem.unread import EXAMPLES, why_unread
from kopt.problem.write import texts


class Wanted(Value):
    """The words that say what a problem is made of."""

    name: str
    """Name of the new problem."""
    source: str
    """A path, or `package.module:function`."""
    inputs: tuple[str, ...] = ()
    """Example inputs of a function."""
    init: str | None = None
    """Arguments of a class of modules."""
    dtype: Dtype | None = None
    """None: as the source says."""
    kernel: str = ""
    """Source of a kernel to start from, with `kernel_function` or `ModelNew`; empty for the source's own."""
    backward: bool = False
    """Whether the problem is the gradient of the source."""
    wrt: tuple[str, ...] = ()
    """Inputs and parameters to differentiate for; none for all."""
    save: tuple[str, ...] = ()
    """Outputs of the forward pass that are given to the gradient's kernel."""


class Made(Value):
    """A problem, and the files that hold it."""

    problem: Problem
    signature: Signature
    kind: str
    """Kind of the source, in words."""
    notes: tuple[str, ...]
    files: dict[str, str]
    """Texts by name."""
    given: tuple[Given, ...]
    """Arguments in all workloads; those left out have inputs inside of lists."""


def made(wanted: Wanted) -> Made:
    """Make a problem; nothing is written.

    Raises:
        ProblemError: one line that says what is wrong with the source.
    """
    path = Path(wanted.source)
    whole: Derived | None = None
    if _exists(path):
        draft, kind = _read(path, wanted)
    elif ":" in wanted.source:
        whole, kind = _of_function(wanted), f"function {wanted.source}"
        draft = _draft_of(whole.problem)
    else:
        hint = nearest(path.name, [p.name for p in path.parent.iterdir()]) if path.parent.is_dir() else ""
        raise ProblemError(f"--from {wanted.source}: there is no such file or folder{hint}; give {EXAMPLES}")
    if wanted.backward:
        whole = caged(draft.name, DERIVE_S, Derived, gradient_of, draft, wanted.wrt, wanted.save)
        draft, kind = _draft_of(whole.problem), f"gradient of {kind}"
    if wanted.kernel:
        draft, whole = draft.model_copy(update={"seed": wanted.kernel}), None
    if draft.seed:
        check_kernel(draft.seed, wanted.name)
    result = whole or complete(draft)
    files = texts(result.problem, draft.reference, draft.kernels)
    return Made(
        problem=result.problem, signature=result.signature, kind=kind, notes=_notes(result), files=files,
        given=result.given,
    )  # fmt: skip


def _read(path: Path, wanted: Wanted) -> tuple[Draft, str]:
    """Read a file or folder in its format."""
    format = next((format for format in formats() if format.matches(path)), None)
    if format is None:
        raise ProblemError(_unknown(path))
    if wanted.inputs or wanted.init is not None:
        raise ProblemError(f"--inputs and --init are for functions; {wanted.source} has its own inputs")
    draft = format.draft(path if path.name not in ("", "..") else path.resolve())
    updates = {"name": wanted.name, "dtype": wanted.dtype or draft.dtype}
    return draft.model_copy(update=updates), f"{format.title} {'folder' if path.is_dir() else 'file'} {wanted.source}"


def _unknown(path: Path) -> str:
    """Say why a path is in no format."""
    if path.is_dir():
        return f"--from {path}: the folder holds no problem; give {EXAMPLES}"
    return why_unread(path, "--from ")


def _of_function(wanted: Wanted) -> Derived:
    """Return the problem of a function or a class, with all workloads."""
    place, _, name = wanted.source.rpartition(":")
    if place.endswith(".py"):
        if not Path(place).is_file():
            raise ProblemError(f"--from {wanted.source}: there is no file {place}")
        place = str(Path(place).resolve())
    if not place or not name:
        raise ProblemError(f"--from {wanted.source}: write package.module:function, or file.py:function")
    request = function.Request(
        name=wanted.name, word=f"{place}:{name}", inputs=wanted.inputs, init=wanted.init, dtype=wanted.dtype,
        source=wanted.source,
    )  # fmt: skip
    with _importable(Path(place).parent if place.endswith(".py") else None):
        return caged(wanted.name, DERIVE_S, Derived, function.problem_of, request)


@contextmanager
def _importable(folder: Path | None) -> Iterator[None]:
    """Let the cage import from a folder, after all others, inside the block."""
    if folder is None:
        yield
        return
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _draft_of(problem: Problem) -> Draft:
    """Return the draft of a problem that lacks nothing."""
    return Draft(
        name=problem.name, reference=problem.reference, seed=problem.seed.source, dtype=problem.dtype,
        main=problem.main, hidden=problem.hidden, small=problem.small, layout=problem.layout,
        keep_dtypes=problem.keep_dtypes,
    )  # fmt: skip


def _notes(result: Derived) -> tuple[str, ...]:
    """Return the notes of a problem, with inputs and weights that get another dtype than they are made in."""
    casts: dict[tuple[str, str], list[str]] = {}
    signature = result.signature
    specs, dtypes = signature.inputs + signature.parameters, signature.given_dtypes + signature.made_dtypes
    for spec, given in zip(specs, dtypes, strict=True):
        if spec.dtype != given:
            casts.setdefault((given, spec.dtype), []).append(spec.name)
    notes = [
        f"made in {given} and given in {dtype}: {', '.join(names)}; all floating-point inputs, parameters and buffers "
        "have the problem's dtype, and the exported kernel runs for it alone (keep_dtypes: true in problem.yaml keeps "
        "their own)"
        for (given, dtype), names in casts.items()
    ]
    return (*result.notes, *notes)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long
        return False
