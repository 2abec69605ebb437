"""Call an entry point: the one contract for all code that does so.

`Any`: inputs, outputs and entry points are of whatever type problem and candidate choose.

An entry point receives `get_inputs()` positionally, or by name where it takes an argument of `forward` by keyword only.
Each further parameter of its signature is passed by keyword when its name is found, in this order, among

1. the parameters of `forward` that `get_inputs()` leaves at a default other than None,
2. the model's parameters, buffers and plain attributes by their full name with `_` for `.` (`weight`, `proj_weight`);
   a parameter that a module lacks, such as the bias of `nn.Linear(bias=False)`, is None,
3. the same by the last part of their name, where only one has it (`weight` for `proj.weight`),
4. the module constants of `problem.py` (with the workload's overrides) that are plain values: numbers, booleans,
   strings, None, dtypes, and tuples and lists of them,
5. the parameters of `forward` whose default is None.

A constant is passed to a parameter that has a default only if the model reads the constant itself: KernelBench's files
hold constants that nothing but `get_inputs` reads, and these must not replace a kernel's default.  A parameter whose
name is not found keeps its default; without a default the candidate is rejected.  No default device is set while the
entry point runs: it says itself where its tensors go.
"""

from __future__ import annotations

import dis
import importlib.util
import inspect
import io
import linecache
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import torch

from kopt.device.reference.given import forward_parameters, input_names
from kopt.device.reference.rejection import SOURCE_NAME, Rejected, describe
from kopt.device.reference.tree import taken_apart
from kopt.model.build import Phase
from kopt.model.kernel import Kernel

CANDIDATE_MODULE = "kopt_candidate"
"""Module name of every candidate; the same for all, since module names can reach the compiled code."""


@dataclass(frozen=True)
class Arguments:
    """Arguments of one call of an entry point."""

    positional: tuple[Any, ...]
    named: Mapping[str, Any]

    def call(self, function: Callable[..., Any]) -> Any:
        """Call a function with these arguments."""
        return function(*self.positional, **self.named)


def load_candidate(kernel: Kernel, folder: Path) -> Callable[..., Any]:
    """Write the candidate into `folder`, import it, and return its entry point.

    Triton reads a kernel's source lines through its file, so there must be one; its name and its module's name are
    fixed.  What runs and what Triton reads is the text as it is, whatever encoding a comment in it names, and whatever
    is written into the file later.  The folder is no place to import from.

    Raises:
        Rejected: the import raises, or the module has no such function.
    """
    path = folder / SOURCE_NAME
    path.write_text(kernel.source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(CANDIDATE_MODULE, path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[CANDIDATE_MODULE] = module
    sys.path[:] = [place for place in sys.path if place and not Path(place).resolve().is_relative_to(folder.resolve())]
    lines = io.StringIO(kernel.source.removesuffix("\n") + "\n", newline=None).readlines()
    linecache.cache[str(path)] = (len(kernel.source), None, lines, str(path))  # without a date it is never read again
    try:
        exec(compile(kernel.source, str(path), "exec", dont_inherit=True), vars(module))
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
    names = input_names(model, len(inputs))
    ordered = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    keyword_only = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    by_keyword = {p.name for p in keyword_only} & set(names[len(ordered) :])
    takes_rest = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    count = len(inputs) if takes_rest else min(len(ordered), len(inputs))
    if count < len(inputs) and not by_keyword.issuperset(names[count:]):
        raise Rejected(Phase.ENTRY, f"the entry point takes {len(ordered)} positional arguments, not {len(inputs)}")
    given = dict(zip(names[count:], inputs[count:], strict=True))
    extra = [*ordered[count:], *(p for p in keyword_only if p.name not in given)]
    found = _found(extra, model, reference, len(inputs))
    unknown = [p.name for p in extra if p.name not in found and p.default is p.empty]
    if unknown:
        raise Rejected(Phase.ENTRY, f"parameter {unknown[0]} is no input, model parameter or constant of the problem")
    return Arguments(tuple(inputs[:count]), given | found)


def _found(
    parameters: Sequence[inspect.Parameter], model: torch.nn.Module, reference: ModuleType, inputs: int
) -> dict[str, Any]:
    """Return the values that are found for parameters, by name."""
    defaults = _forward_defaults(model, inputs)
    values = _named_values(model) | {name: value for name, value in defaults.items() if value is not None}
    constants = _constants(reference)
    found: dict[str, Any] = {}
    for parameter in parameters:
        name, required = parameter.name, parameter.default is parameter.empty
        if name in values:
            found[name] = values[name]
        elif name in constants and (required or name in _read_by_model(reference)):
            found[name] = constants[name]
        elif name in defaults and required:
            found[name] = defaults[name]
    return found


def tensor_arguments(model: torch.nn.Module, inputs: Sequence[Any]) -> dict[str, torch.Tensor]:
    """Return the tensors that an entry point may get by name: those of the inputs, then parameters, then buffers."""
    named: dict[str, torch.Tensor] = {}
    for name, value in zip(input_names(model, len(inputs)), inputs, strict=True):
        named |= taken_apart(value, f"input {name}").tensors
    named |= {f"parameter {name}": value for name, value in sorted(model.named_parameters())}
    return named | {f"buffer {name}": value for name, value in sorted(model.named_buffers())}


def build_tensors(inputs: Sequence[Any], model: torch.nn.Module | None = None) -> dict[str, torch.Tensor]:
    """Return the tensors of inputs, and of a model, by the names that builds give their memory.

    The names are `input 0`, or `input 0[1]` inside a list, and `model weight` for parameters and buffers.
    """
    named: dict[str, torch.Tensor] = {}
    for place, value in enumerate(inputs):
        named |= taken_apart(value, f"input {place}").tensors
    state = [*model.named_parameters(), *model.named_buffers()] if model is not None else []
    return named | {f"model {name}": value for name, value in state}


def _named_values(model: torch.nn.Module) -> dict[str, Any]:
    """Return a model's values by full name, and by the last part of their name where only one has it."""
    full = _model_values(model)
    tails = [name.rpartition(".")[2] for name in full]
    by_tail = {tail: value for tail, value in zip(tails, full.values(), strict=True) if tails.count(tail) == 1}
    return by_tail | {name.replace(".", "_"): value for name, value in full.items()}


def _forward_defaults(model: torch.nn.Module, inputs: int) -> dict[str, Any]:
    """Return the defaults of the parameters of `forward` for which there is no input."""
    parameters = forward_parameters(model)
    given = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][:inputs]
    return {p.name: p.default for p in parameters if p not in given and p.default is not p.empty}


def _constants(reference: ModuleType) -> dict[str, Any]:
    return {name: value for name, value in vars(reference).items() if not name.startswith("_") and _is_plain(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, int | float | str | torch.dtype)


def _read_by_model(reference: ModuleType) -> set[str]:
    """Return the global names that the code of `problem.py` reads outside `get_inputs` and `get_init_inputs`."""
    own = [value for name, value in vars(reference).items() if name not in ("get_inputs", "get_init_inputs")]
    functions = [value for value in own if isinstance(value, FunctionType)]
    for value in own:
        if isinstance(value, type) and value.__module__ == reference.__name__:
            functions += _methods(value)
    return {name for function in functions for name in _globals_read(function.__code__)}


def _methods(kind: type) -> list[FunctionType]:
    wrapped = [getattr(value, "__func__", getattr(value, "fget", value)) for value in vars(kind).values()]
    return [value for value in wrapped if isinstance(value, FunctionType)]


def _globals_read(code: CodeType) -> set[str]:
    """Return the global names that a function's code reads, with those of the functions in it."""
    names = {str(step.argval) for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"}
    return names.union(*(_globals_read(inner) for inner in code.co_consts if isinstance(inner, CodeType)))


def _model_values(model: torch.nn.Module) -> dict[str, Any]:
    """Return a model's attributes, buffers and parameters by dotted name."""
    values: dict[str, Any] = {}
    for prefix, module in model.named_modules():
        absent = {n: None for n, v in (*module._parameters.items(), *module._buffers.items()) if v is None}
        public = absent | {n: v for n, v in vars(module).items() if not n.startswith("_") and n != "training"}
        values |= {f"{prefix}.{name}" if prefix else name: value for name, value in public.items()}
    return values | dict(model.named_buffers()) | dict(model.named_parameters())
