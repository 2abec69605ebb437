"""Set up a problem's reference: execute `problem.py` with a workload's constants, make its model and its inputs.

Tracing, interpretation, verification, timing and profiling all use this module, so that they cannot differ in dtype,
shapes or seeds.  Tensors are made on torch's current default device (`with torch.device("cuda")`), whatever device the
source names (`kopt.device.reference.elsewhere.anywhere`), and under whatever mode is active (`FakeTensorMode` in the
CPU stage).
`Any`: inputs are of whatever type a problem chooses.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import marshal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from types import ModuleType
from typing import Any

import torch
from torch.utils._pytree import tree_map

from kopt.device.reference.elsewhere.anywhere import REFERENCE_MODULE, anywhere, without_values
from kopt.device.reference.file_name import file_of, folder_of
from kopt.device.reference.forward import call, reason
from kopt.device.reference.layout import copied
from kopt.device.reference.modes import made_in_evaluation_mode
from kopt.device.reference.seeding import seed_random
from kopt.errors import ProblemError
from kopt.model.problem import Problem, Workload

REQUIRED = ("Model", "get_inputs", "get_init_inputs")
"""Names that a problem's reference must define."""


def load_reference(problem: Problem, workload: Workload) -> ModuleType:
    """Execute the reference's source with the workload's constants in place of the module's own.

    A constant is replaced right where it is assigned, so that constants derived from it change too.

    Raises:
        ProblemError: the source is not Python, raises, lacks a required name, or has no such constant.
    """
    tree = _parsed(problem)
    missing = sorted(set(workload.constants) - {name for statement in tree.body for name in _assigned(statement)})
    file = file_of(problem.name)
    if missing:
        raise ProblemError(f"{problem.name}: workload {workload.name} overrides {missing[0]}, not a constant of {file}")
    module = ModuleType(REFERENCE_MODULE)
    module.__file__ = file
    sys.modules[REFERENCE_MODULE] = module  # dataclasses and pickle look a class's module up
    linecache.cache[file] = (len(problem.reference), None, problem.reference.splitlines(keepends=True), file)
    with _told(problem), anywhere(torch.get_default_device()):
        values = tuple((constant, repr(value)) for constant, value in workload.constants.items())
        exec(marshal.loads(_compiled(problem.reference, values, file)), module.__dict__)
    for name in REQUIRED:
        if not callable(getattr(module, name, None)):
            raise ProblemError(f"{file} does not define {name}")
    return module


def make_model(reference: ModuleType, problem: Problem, seed: int = 0, *, as_given: bool = False) -> torch.nn.Module:
    """Return `Model(*get_init_inputs())` in the problem's dtype, with weights drawn from `seed`.

    The model is in evaluation mode unless it sets another.

    Args:
        reference: the executed `problem.py`.
        problem: the problem.
        seed: of the weights.
        as_given: leave parameters and buffers in the dtypes in which the reference makes them.

    Raises:
        ProblemError: the reference raises, or its Model is no module of torch.
    """
    seed_random(seed)
    with _told(problem), anywhere(torch.get_default_device()), torch.no_grad():
        given = reference.get_init_inputs()
        positional, named = ([], given) if isinstance(given, Mapping) else (_several(given), {})
        model = made_in_evaluation_mode(lambda: reference.Model(*positional, **named))
    if not isinstance(model, torch.nn.Module):
        raise ProblemError(f"{file_of(problem.name)}: Model is a {type(model).__name__}, not a torch.nn.Module")
    if any(torch.nn.parameter.is_lazy(p) for p in model.parameters()):
        with _told(problem), anywhere(torch.get_default_device()):
            call(model, _several(reference.get_inputs()))  # a lazy module makes its parameters at its first call
    if not as_given:
        _convert(model, _wanted(problem))
    return model


def make_inputs(reference: ModuleType, problem: Problem, seed: int | None = None) -> tuple[Any, ...]:
    """Return `get_inputs()`, drawn from `seed` if it is given, with floating-point tensors in the problem's dtype.

    One value that is no list is the only input; a dictionary holds inputs by the names of `Model.forward`.

    Raises:
        ProblemError: the reference raises, or names an input that `Model.forward` lacks.
    """
    if seed is not None:
        seed_random(seed)
    dtype = _wanted(problem)
    inputs = given_inputs(reference, problem)
    return tuple(tree_map(lambda leaf: _placed(_cast(leaf, dtype)), value) for value in inputs)


def with_saved(
    reference: ModuleType, problem: Problem, model: torch.nn.Module, inputs: tuple[Any, ...]
) -> tuple[Any, ...]:
    """Return inputs in which those that follow from the others agree with them.

    A reference that has such inputs defines `saved_inputs(model, inputs)` (`kopt.problem.backward`); without it, inputs
    stay as they are.

    Raises:
        ProblemError: `saved_inputs` raises, or returns another number of inputs.
    """
    saved_inputs = getattr(reference, "saved_inputs", None)
    if not callable(saved_inputs):
        return inputs
    with _told(problem), anywhere(torch.get_default_device()), torch.no_grad():
        made = tuple(saved_inputs(model, inputs))
        if len(made) != len(inputs):
            raise ProblemError(f"saved_inputs returns {len(made)} values for {len(inputs)} inputs")
    dtype = _wanted(problem)
    return tuple(tree_map(lambda leaf: _placed(_cast(leaf, dtype)), value) for value in made)


def given_inputs(reference: ModuleType, problem: Problem) -> list[Any]:
    """Return the inputs in the dtypes of `get_inputs`, in the order of `Model.forward`.

    Raises:
        ProblemError: as for `make_inputs`.
    """
    with _told(problem), anywhere(torch.get_default_device()):
        given = reference.get_inputs()
        return _in_order(given, reference) if isinstance(given, Mapping) else _several(given)


@contextmanager
def _told(problem: Problem) -> Iterator[None]:
    """Turn what a reference raises into one line."""
    try:
        yield
    except ProblemError as error:
        raise ProblemError(f"{problem.name}: {error}") from error
    except (Exception, SystemExit) as error:
        raise ProblemError(f"{folder_of(problem.name)}{reason(error)}") from error


def _several(given: Any) -> list[Any]:
    """Return the values that a function of the reference gives: a list's, one value alone, or none for None."""
    if given is None:
        return []
    if isinstance(given, torch.Tensor | str | bytes) or not hasattr(given, "__iter__"):
        return [given]
    return list(given)


def _in_order(given: Mapping[str, Any], reference: ModuleType) -> list[Any]:
    """Return inputs given by name in the order of `Model.forward`; one that is left out has its default."""
    parameters = list(inspect.signature(reference.Model.forward).parameters.values())[1:]
    names = [parameter.name for parameter in parameters]
    unknown = [name for name in given if name not in names]
    if unknown and len(parameters) == 1:
        return [given]
    if unknown:
        raise ProblemError(f"get_inputs names {unknown[0]!r}, not an argument of Model.forward ({', '.join(names)})")
    last = max((names.index(name) for name in given), default=-1)
    missing = [p.name for p in parameters[: last + 1] if p.name not in given and p.default is p.empty]
    if missing:
        raise ProblemError(f"get_inputs gives no {missing[0]!r}, which Model.forward needs")
    return [given.get(parameter.name, parameter.default) for parameter in parameters[: last + 1]]


def torch_dtype(problem: Problem) -> torch.dtype:
    """Return the problem's dtype as torch names it."""
    dtype = getattr(torch, problem.dtype.value)
    assert isinstance(dtype, torch.dtype)
    return dtype


def _wanted(problem: Problem) -> torch.dtype | None:
    """Return the dtype that floating-point tensors get; None where they keep their own."""
    return None if problem.keep_dtypes else torch_dtype(problem)


def _convert(model: torch.nn.Module, dtype: torch.dtype | None) -> None:
    """Cast parameters and buffers in place, unless `dtype` is None; a parameter that two modules share stays shared.

    `Module.to` does not work on fake tensors.
    """
    casts: dict[int, torch.nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                cast = torch.nn.Parameter(_placed(_cast(parameter.detach(), dtype)), requires_grad=False)
                module._parameters[name] = casts.setdefault(id(parameter), cast)
        for name, buffer in module._buffers.items():
            module._buffers[name] = _placed(_cast(buffer, dtype))
        for name, value in vars(module).items():
            if isinstance(value, torch.Tensor):
                vars(module)[name] = _placed(value)


def has_problem_dtype(tensor: torch.Tensor) -> bool:
    """Return whether a tensor gets the problem's dtype: it is floating-point, of 16 bits or more.

    One of 8 bits was quantised on purpose.
    """
    return tensor.is_floating_point() and tensor.element_size() > 1


def _cast(value: Any, dtype: torch.dtype | None) -> Any:
    """Cast a floating-point tensor to a dtype, layout kept; None keeps its own."""
    if dtype is not None and isinstance(value, torch.Tensor) and has_problem_dtype(value):
        return value if value.dtype is dtype else copied(value, dtype)
    return value


def _placed(value: Any) -> Any:
    """Return a tensor without its values where the reference is set up on meta tensors."""
    return without_values(value) if torch.get_default_device().type == "meta" else value


def _parsed(problem: Problem) -> ast.Module:
    try:
        return _tree(problem.reference)
    except SyntaxError as error:
        raise ProblemError(f"{file_of(problem.name)}, line {error.lineno}: {error.msg}") from error


@lru_cache(maxsize=16)
def _tree(source: str) -> ast.Module:
    """Parse a reference, which a verdict executes dozens of times; nobody may change the tree."""
    return ast.parse(source)


@lru_cache(maxsize=64)
def _compiled(source: str, values: tuple[tuple[str, str], ...], file: str) -> bytes:
    """Compile a reference with other values of some of its constants, which are given as Python writes them.

    Returns:
        The code, by `marshal`: modules must not share code objects, since `torch.compile` keeps what it compiled with
        the code object, and what it compiled for one module names globals that another module lacks.
    """
    return marshal.dumps(compile(_overridden(_tree(source), dict(values)), file, "exec"))


def _assigned(statement: ast.stmt) -> list[str]:
    """Return the names that a top-level assignment binds."""
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        targets = [statement.target]
    else:
        return []
    return [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]


def _overridden(tree: ast.Module, values: Mapping[str, str]) -> ast.Module:
    """Return the module with `NAME = value` added after each assignment of an overridden name."""
    body: list[ast.stmt] = []
    for statement in tree.body:
        body.append(statement)
        for name in _assigned(statement):
            if name in values:
                override = ast.parse(f"{name} = {values[name]}").body[0]
                body.append(ast.copy_location(override, statement))
    return ast.Module(body=body, type_ignores=[])
