"""Read kopt's own format: `problem.py`, `kernel.py` and `problem.yaml` in one folder.

`problem.py` holds the reference as in KernelBench (`Model`, `get_inputs`, `get_init_inputs`, sizes as module
constants), `kernel.py` the seed kernel with `kernel_function`, and `problem.yaml` declares dtype, workloads, tolerance
and mutated inputs.  The sources are parsed, never imported.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

from pydantic import Field, ValidationError

from kopt import safe_yaml
from kopt.errors import ProblemError, nearest
from kopt.model.base import Value
from kopt.model.kernel import Kernel
from kopt.model.problem import Dtype, Floor, InputRule, Keep, Layout, Problem, Tolerance, Workload
from kopt.problem.format import Format
from kopt.problem.source import check_reference, constants, defined, parsed, read_text

REFERENCE, SEED, DECLARATION = FILES = "problem.py", "kernel.py", "problem.yaml"

Overrides = dict[str, int]


class Workloads(Value):
    """Workloads by name: each maps module constants to their values, `{}` keeps the module's own sizes."""

    main: dict[str, Overrides] = Field(min_length=1)
    """Timed workloads."""
    hidden: dict[str, Overrides] = Field(default_factory=dict)
    """Workloads for verification alone."""
    small: dict[str, Overrides] = Field(min_length=1)
    """Workloads for kopt's interpreter."""


class Declaration(Value):
    """The content of `problem.yaml`."""

    dtype: Dtype
    """Floating-point type of inputs, parameters and output."""
    workloads: Workloads
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


def files(folder: Path) -> tuple[Path, ...]:
    """Return the three files of a problem."""
    return tuple(folder / name for name in FILES)


def matches(folder: Path) -> bool:
    """Return whether the folder has a declaration."""
    return (folder / DECLARATION).is_file()


def read(folder: Path) -> Problem:
    """Read and check the problem in a folder.

    Raises:
        ProblemError: one line that says what is wrong and where.
    """
    reference, seed, text = (read_text(folder, name, FILES) for name in FILES)
    declaration = _declaration(text, f"{folder.name}/{DECLARATION}")
    workloads = declaration.workloads
    tree = parsed(reference, f"{folder.name}/{REFERENCE}")
    check_reference(tree, f"{folder.name}/{REFERENCE}")
    _check_overrides(tree, workloads, folder.name)
    _check_mutates(tree, declaration.mutates, folder.name)
    _check_seed(parsed(seed, f"{folder.name}/{SEED}"), folder.name)
    return Problem(
        name=folder.name,
        reference=reference,
        seed=Kernel(source=seed),
        dtype=declaration.dtype,
        main=_workloads(workloads.main),
        hidden=_workloads(workloads.hidden),
        small=_workloads(workloads.small),
        tolerance=declaration.tolerance,
        mutates=declaration.mutates,
        inputs={name: _rule(rule) for name, rule in declaration.inputs.items()},
        layout=declaration.layout,
        floor=declaration.floor,
    )


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
        return f"dtype: unknown {fault['input']!r}{nearest(str(fault['input']), dtypes)}; known are {', '.join(dtypes)}"
    return f"{'.'.join([*parents, last])}: {fault['msg']} (got {fault['input']!r})"


def _keys(parents: list[str]) -> Iterable[str]:
    models: dict[str, type[Value]] = {"workloads": Workloads, "tolerance": Tolerance}
    model = models.get(parents[-1], Declaration) if parents else Declaration
    return model.model_fields


def _check_overrides(tree: ast.Module, workloads: Workloads, name: str) -> None:
    own = constants(tree)
    for kind in Workloads.model_fields:
        for workload, overrides in getattr(workloads, kind).items():
            for constant in overrides:
                if constant not in own:
                    raise ProblemError(
                        f"{name}/{DECLARATION}: workload {kind}.{workload} overrides {constant!r}, which {REFERENCE} "
                        f"lacks{nearest(constant, own)}"
                    )


def _check_mutates(tree: ast.Module, mutates: tuple[str, ...], name: str) -> None:
    inputs = _forward_arguments(tree)
    for argument in mutates:
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


FORMAT = Format(files=files, matches=matches, read=read)
