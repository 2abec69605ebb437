"""Call an entry point: the one contract for all code that does so.

`Any`: inputs, outputs and entry points are of whatever type problem and candidate choose.

An entry point receives `get_inputs()` positionally.  Each further parameter of its signature is passed by keyword when
its name is found, in this order, among

1. the model's parameters, buffers and plain attributes by their full name with `_` for `.` (`weight`, `proj_weight`),
2. the same by the last part of their name, where only one has it (`weight` for `proj.weight`),
3. the module constants of `problem.py` (with the workload's overrides) that are numbers, booleans or strings.

A parameter whose name is not found keeps its default; without a default the candidate is rejected.  No default device
is set while the entry point runs: it says itself where its tensors go.
"""

from __future__ import annotations

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


def argument_tensors(inputs: Sequence[Any], model: torch.nn.Module) -> list[torch.Tensor]:
    """List the tensors that a call of an entry point may read: inputs, then parameters and buffers in order of name."""
    named = [*sorted(model.named_parameters()), *sorted(model.named_buffers())]
    return [value for value in inputs if isinstance(value, torch.Tensor)] + [value for _, value in named]


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
