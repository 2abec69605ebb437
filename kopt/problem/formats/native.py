"""Read kopt's own format: `problem.py`, `kernel.py` and `problem.yaml` in one folder.

`problem.py` holds the reference as in KernelBench (`Model`, `get_inputs`, `get_init_inputs`, sizes as module
constants), `kernel.py` the seed kernel with `kernel_function`, and `problem.yaml` declares dtype, workloads, tolerance
and mutated inputs.  Only `problem.py` is needed: without `kernel.py` a problem has no seed kernel, and what
`problem.yaml` leaves open is derived, for which the reference runs in the cage.  Where it declares dtype and workloads,
the sources are parsed, never imported.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from kopt import safe_yaml
from kopt.errors import ProblemError, nearest, nearest_and, with_place
from kopt.model.base import Value
from kopt.model.kernel import Kernel
from kopt.model.problem import Dtype, Floor, InputRule, Keep, Layout, Problem, Tolerance, Workload
from kopt.problem.caged import complete
from kopt.problem.draft import GIVEN, Draft
from kopt.problem.format import Format
from kopt.problem.literals import literals, named
from kopt.problem.source import check_reference, constants, defined, parsed, read_text

REFERENCE, SEED, DECLARATION = FILES = "problem.py", "kernel.py", "problem.yaml"

Overrides = dict[str, int]


def _as_given() -> dict[str, Overrides]:
    return {GIVEN.name: {}}


class Workloads(Value):
    """Workloads by name: each maps module constants to their values, `{}` keeps the module's own sizes."""

    main: dict[str, Overrides] = Field(default_factory=_as_given, min_length=1)
    """Timed workloads; the sizes of `problem.py` when not given."""
    hidden: dict[str, Overrides] | None = None
    """Workloads for verification alone; derived when neither they nor small ones are given."""
    small: dict[str, Overrides] | None = Field(default=None, min_length=1)
    """Workloads for kopt's interpreter; derived when not given."""


class Declaration(Value):
    """The content of `problem.yaml`."""

    dtype: Dtype | None = None
    """Floating-point type of inputs, parameters and output; that of the first floating-point input when not given."""
    keep_dtypes: bool | None = None
    """Whether inputs, parameters and buffers stay in the dtypes in which `problem.py` makes them; when neither it nor
    a dtype is given: where these differ."""
    workloads: Workloads = Workloads()
    """Concrete shapes."""
    tolerance: Tolerance | None = None
    """Largest accepted error of an element; calibrated from the eager model when not given."""
    mutates: tuple[str, ...] = ()
    """Names of inputs that the reference changes in place; detected when not given."""
    inputs: dict[str, InputRule | Keep] = Field(default_factory=dict)
    """Rules for the draws of inputs: `mask: as_given`, `p: {range: [0, 1]}`."""
    layout: Layout = Layout.REFERENCE
    """`any` for outputs whose strides do not matter."""
    floor: dict[str, Floor] = Field(default_factory=dict)
    """Floors by name of a main workload, where the derived one is too high."""
    weights: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(default_factory=dict)
    """Weights in the objective by name of a main workload: `decode: 3` counts three times as much as one without."""


def files(folder: Path) -> tuple[Path, ...]:
    """Return the files of a problem that exist; `problem.py` where none does."""
    return tuple(folder / name for name in FILES if (folder / name).exists()) or (folder / REFERENCE,)


def matches(folder: Path) -> bool:
    """Return whether the folder has a declaration, or a reference with a seed kernel."""
    has = {name: (folder / name).is_file() for name in FILES}
    return has[DECLARATION] or (has[REFERENCE] and has[SEED])


def draft(folder: Path) -> Draft:
    """Read and check the files in a folder.

    Raises:
        ProblemError: one line that says what is wrong and where.
    """
    reference = read_text(folder, REFERENCE, FILES)
    seed, text = (read_text(folder, name, FILES) if (folder / name).exists() else None for name in FILES[1:])
    declaration = _declaration(text, f"{folder.name}/{DECLARATION}") if text is not None else Declaration()
    workloads = declaration.workloads
    tree = parsed(reference, f"{folder.name}/{REFERENCE}")
    check_reference(tree, f"{folder.name}/{REFERENCE}")
    _check_overrides(reference, workloads, folder.name)
    _check_mutates(tree, declaration.mutates, folder.name)
    _check_names(declaration, folder.name)
    if seed is not None:
        _check_seed(parsed(seed, f"{folder.name}/{SEED}"), folder.name)
    open_hidden = workloads.hidden is None and workloads.small is None
    return Draft(
        name=folder.name,
        reference=reference,
        seed=seed or "",
        dtype=declaration.dtype,
        keep_dtypes=declaration.keep_dtypes,
        main=_workloads(workloads.main),
        hidden=None if open_hidden else _workloads(workloads.hidden or {}),
        small=None if workloads.small is None else _workloads(workloads.small),
        tolerance=declaration.tolerance,
        mutates=declaration.mutates,
        inputs={name: _rule(rule) for name, rule in declaration.inputs.items()},
        layout=declaration.layout,
        floor=declaration.floor,
        weights=declaration.weights,
    )


def read(folder: Path) -> Problem:
    """Read and check the problem in a folder, and derive what it leaves open.

    Raises:
        ProblemError: one line that says what is wrong and where.
    """
    read = draft(folder)
    if read.dtype is None or read.hidden is None or read.small is None:
        return complete(read).problem
    workloads = (*read.main, *read.hidden, *read.small)
    return Problem(
        name=read.name, reference=named(read.reference, {name for w in workloads for name in w.constants}),
        seed=Kernel(source=read.seed), dtype=read.dtype, main=read.main, hidden=read.hidden, small=read.small,
        tolerance=read.tolerance, mutates=read.mutates, inputs=read.inputs, layout=read.layout, floor=read.floor,
        weights=read.weights, keep_dtypes=read.keep_dtypes or False,
    )  # fmt: skip


def _workloads(declared: dict[str, Overrides]) -> tuple[Workload, ...]:
    return tuple(Workload(name=name, constants=constants) for name, constants in declared.items())


def _rule(declared: InputRule | Keep) -> InputRule:
    return InputRule(keep=declared) if isinstance(declared, Keep) else declared


def _declaration(text: str, where: str) -> Declaration:
    try:
        raw = safe_yaml.load(text)
    except safe_yaml.NotYaml as error:
        raise ProblemError(f"{where} is not YAML: {error}") from error
    if not isinstance(raw, dict):
        raise ProblemError(f"{where} must be a mapping with the keys {', '.join(Declaration.model_fields)}")
    try:
        return Declaration.model_validate(raw)
    except ValidationError as error:
        raise ProblemError(f"{where}: {_explain(error)}") from error


def _explain(error: ValidationError) -> str:
    errors = error.errors(include_url=False)
    # a misspelt key explains a missing one
    fault = next((error for error in errors if error["type"] == "extra_forbidden"), errors[0])
    *parents, last = [str(part) for part in fault["loc"]] or [""]
    if fault["type"] == "extra_forbidden":
        return f"unknown key {'.'.join([*parents, last])!r}{nearest(last, _keys(parents))}"
    if fault["type"] == "missing":
        return f"{'.'.join([*parents, last])} is missing"
    dtypes = [dtype.value for dtype in Dtype]
    if last == "dtype":
        known = f"known are {', '.join(dtypes)}"
        return f"dtype: unknown {fault['input']!r}{nearest_and(str(fault['input']), dtypes, known)}"
    return f"{with_place(fault)} (got {fault['input']!r})"


def _keys(parents: list[str]) -> Iterable[str]:
    models: dict[str, type[Value]] = {"workloads": Workloads, "tolerance": Tolerance}
    model = models.get(parents[-1], Declaration) if parents else Declaration
    return model.model_fields


def _check_overrides(reference: str, workloads: Workloads, name: str) -> None:
    own = (*constants(ast.parse(reference)), *(literal.name for literal in literals(reference)))
    for kind in Workloads.model_fields:
        for workload, overrides in (getattr(workloads, kind) or {}).items():
            for constant in overrides:
                if constant not in own:
                    raise ProblemError(
                        f"{name}/{DECLARATION}: workload {kind}.{workload} overrides {constant!r}, which {REFERENCE} "
                        f"lacks{nearest(constant, own)}"
                    )


def _check_names(declaration: Declaration, name: str) -> None:
    main = declaration.workloads.main
    for kind in ("floor", "weights"):
        for workload in getattr(declaration, kind):
            if workload not in main:
                raise ProblemError(
                    f"{name}/{DECLARATION}: {kind} names {workload!r}, not a main workload{nearest(workload, main)}"
                )


def _check_mutates(tree: ast.Module, mutates: tuple[str, ...], name: str) -> None:
    inputs = _forward_arguments(tree)
    for argument in mutates if inputs else ():
        if argument not in inputs:
            raise ProblemError(
                f"{name}/{DECLARATION}: mutates names {argument!r}, not an argument of Model.forward"
                f"{nearest(argument, inputs)}"
            )


def _check_seed(tree: ast.Module, name: str) -> None:
    entry = Kernel(source="").entry
    if entry not in defined(tree):
        raise ProblemError(f"{name}/{SEED} defines no {entry}")


def _forward_arguments(tree: ast.Module) -> tuple[str, ...]:
    forwards = [
        method
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == "Model"
        for method in node.body
        if isinstance(method, ast.FunctionDef) and method.name == "forward"
    ]
    return tuple(argument.arg for forward in forwards for argument in forward.args.args[1:])


FORMAT = Format(title="kopt", files=files, matches=matches, draft=draft, read=read)
