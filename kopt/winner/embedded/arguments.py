"""Find the arguments of a kernel's entry point beside the inputs."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch


def further_arguments(
    entry: Callable[..., Any], inputs: Sequence[Any], model: torch.nn.Module, constants: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the values of the parameters that follow the inputs, by name.

    A value is a parameter, buffer or attribute of the model, by its full name with `_` for `.` or by the last part of
    its name, or a constant of the reference.  A parameter without such a value keeps its default.
    """
    values: dict[str, Any] = {}
    for path, module in model.named_modules():
        own = {**vars(module), **module._parameters, **module._buffers}
        for name, value in own.items():
            if not name.startswith("_"):
                values.setdefault(name, value)
                values[f"{path}.{name}".strip(".").replace(".", "_")] = value
    parameters = list(inspect.signature(entry).parameters.values())[len(inputs) :]
    found = {p.name: values[p.name] for p in parameters if p.name in values}
    left = [p.name for p in parameters if p.name not in found and p.default is p.empty]
    return found | {name: constants[name] for name in left if name in constants}
