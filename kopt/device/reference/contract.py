"""Set up a problem and call an entry point: the one contract for all code that does so.

Tracing, interpretation, verification, timing and profiling all use this module, so that they cannot differ in dtype,
shapes, arguments or seeds.  Tensors are made on torch's current default device (`with torch.device("cuda")`), and under
whatever mode is active (`FakeTensorMode` in the CPU stage).  `Any`: inputs, outputs and entry points are of whatever
type problem and candidate choose.

An entry point receives `get_inputs()` positionally.  Each further parameter of its signature is passed by keyword when
its name is found, in this order, among

1. the model's parameters, buffers and plain attributes by their full name with `_` for `.` (`weight`, `proj_weight`),
2. the same by the last part of their name, where only one has it (`weight` for `proj.weight`),
3. the module constants of `problem.py` (with the workload's overrides) that are numbers, booleans or strings.

A parameter whose name is not found keeps its default; without a default the candidate is rejected.  No default device
is set while the entry point runs: it says itself where its tensors go.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from kopt.device.reference.rejection import SOURCE_NAME, Rejected, describe
from kopt.errors import ProblemError
from kopt.model.build import Phase
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem, Workload

REFERENCE_MODULE = "kopt_reference"
CANDIDATE_MODULE = "kopt_candidate"
"""Module name of every candidate; the same for all, since module names can reach the compiled code."""

REQUIRED = ("Model", "get_inputs", "get_init_inputs")
"""Names that a problem's reference must define."""


@dataclass(frozen=True)
class Arguments:
    """Arguments of one call of an entry point."""

    positional: tuple[Any, ...]
    named: Mapping[str, Any]

    def call(self, function: Callable[..., Any]) -> Any:
        """Call a function with these arguments."""
        return function(*self.positional, **self.named)


def load_reference(problem: Problem, workload: Workload) -> ModuleType:
    """Execute the reference's source with the workload's constants in place of the module's own.

    A constant is replaced right where it is assigned, so that constants derived from it change too.

    Raises:
        ProblemError: the source is not Python, raises, lacks a required name, or has no such constant.
    """
    tree = _parsed(problem)
    missing = sorted(set(workload.constants) - {name for statement in tree.body for name in _assigned(statement)})
    if missing:
        raise ProblemError(
            f"{problem.name}: workload {workload.name} overrides {missing[0]}, not a constant of problem.py"
        )
    module = ModuleType(REFERENCE_MODULE)
    try:
        exec(compile(_overridden(tree, workload.constants), f"{problem.name}/problem.py", "exec"), module.__dict__)
    except Exception as error:
        raise ProblemError(f"{problem.name}/problem.py raises {type(error).__name__}: {error}") from error
    for name in REQUIRED:
        if not callable(getattr(module, name, None)):
            raise ProblemError(f"{problem.name}/problem.py does not define {name}")
    return module


def make_model(reference: ModuleType, problem: Problem, seed: int = 0) -> torch.nn.Module:
    """Return `Model(*get_init_inputs())` in the problem's dtype, in evaluation mode, with weights drawn from `seed`."""
    torch.manual_seed(seed)
    model = reference.Model(*reference.get_init_inputs())
    assert isinstance(model, torch.nn.Module)
    _convert(model, torch_dtype(problem))
    return model.eval()


def make_inputs(reference: ModuleType, problem: Problem, seed: int | None = None) -> tuple[Any, ...]:
    """Return `get_inputs()` with floating-point tensors in the problem's dtype, drawn from `seed` if it is given."""
    if seed is not None:
        torch.manual_seed(seed)
    return tuple(_cast(value, torch_dtype(problem)) for value in reference.get_inputs())


def torch_dtype(problem: Problem) -> torch.dtype:
    """Return the problem's dtype as torch names it."""
    dtype = getattr(torch, problem.dtype.value)
    assert isinstance(dtype, torch.dtype)
    return dtype


def load_candidate(kernel: Kernel, folder: Path) -> Callable[..., Any]:
    """Write the candidate into `folder`, import it, and return its entry point.

    Triton reads a kernel's source lines through its file, so there must be one; its name and its module's name are
    fixed.

    Raises:
        Rejected: the import raises, or the module has no such function.
    """
    path = folder / SOURCE_NAME
    path.write_text(kernel.source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(CANDIDATE_MODULE, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[CANDIDATE_MODULE] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise Rejected(Phase.IMPORT, describe(error, folder)) from error
    entry = getattr(module, kernel.entry, None)
    if not callable(entry):
        raise Rejected(Phase.ENTRY, f"the module defines no function {kernel.entry}")
    return entry  # type: ignore[no-any-return]  # an attribute of a foreign module


def bind_arguments(
    function: Callable[..., Any], inputs: Sequence[Any], model: torch.nn.Module, reference: ModuleType
) -> Arguments:
    """Bind the arguments with which an entry point is called, as the module's docstring says.

    Raises:
        Rejected: the function cannot take the inputs, or needs a parameter that neither model nor constants have.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise Rejected(Phase.ENTRY, "the entry point is not a Python function") from error
    ordered = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    takes_rest = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    if len(ordered) < len(inputs) and not takes_rest:
        raise Rejected(Phase.ENTRY, f"the entry point takes {len(ordered)} positional arguments, not {len(inputs)}")
    extra = [*ordered[len(inputs) :], *(p for p in parameters if p.kind is p.KEYWORD_ONLY)]
    values = named_values(model, reference)
    unknown = [p.name for p in extra if p.name not in values and p.default is p.empty]
    if unknown:
        raise Rejected(Phase.ENTRY, f"parameter {unknown[0]} is no input, model parameter or constant of the problem")
    return Arguments(tuple(inputs), {p.name: values[p.name] for p in extra if p.name in values})


def named_values(model: torch.nn.Module, reference: ModuleType) -> dict[str, Any]:
    """Return the values for which an entry point may have a parameter, by name; earlier sources (see above) win."""
    full = _model_values(model)
    tails = [name.rpartition(".")[2] for name in full]
    by_tail = {tail: value for tail, value in zip(tails, full.values(), strict=True) if tails.count(tail) == 1}
    constants = {n: v for n, v in vars(reference).items() if isinstance(v, int | float | str) and not n.startswith("_")}
    return constants | by_tail | {name.replace(".", "_"): value for name, value in full.items()}


def _model_values(model: torch.nn.Module) -> dict[str, Any]:
    """Return a model's attributes, buffers and parameters by dotted name."""
    values: dict[str, Any] = {}
    for prefix, module in model.named_modules():
        public = {n: v for n, v in vars(module).items() if not n.startswith("_") and n != "training"}
        values |= {f"{prefix}.{name}" if prefix else name: value for name, value in public.items()}
    return values | dict(model.named_buffers()) | dict(model.named_parameters())


def _convert(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Cast parameters and buffers in place; a parameter that two modules share stays shared.

    `Module.to` does not work on fake tensors.
    """
    casts: dict[int, torch.nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                cast = torch.nn.Parameter(_cast(parameter.detach(), dtype), requires_grad=False)
                module._parameters[name] = casts.setdefault(id(parameter), cast)
        for name, buffer in module._buffers.items():
            module._buffers[name] = _cast(buffer, dtype)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return value.to(dtype)
    return value


def _parsed(problem: Problem) -> ast.Module:
    try:
        return ast.parse(problem.reference)
    except SyntaxError as error:
        raise ProblemError(f"{problem.name}/problem.py, line {error.lineno}: {error.msg}") from error


def _assigned(statement: ast.stmt) -> list[str]:
    """Return the names that a top-level assignment binds."""
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        targets = [statement.target]
    else:
        return []
    return [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]


def _overridden(tree: ast.Module, constants: Mapping[str, int]) -> ast.Module:
    """Return the module with `NAME = value` added after each assignment of an overridden name."""
    body: list[ast.stmt] = []
    for statement in tree.body:
        body.append(statement)
        for name in _assigned(statement):
            if name in constants:
                override = ast.parse(f"{name} = {constants[name]!r}").body[0]
                body.append(ast.copy_location(override, statement))
    return ast.fix_missing_locations(ast.Module(body=body, type_ignores=[]))
