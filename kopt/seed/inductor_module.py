"""Take the module that TorchInductor wrote apart: its Triton kernels, imported, and the body of its `call`.

`Any`: kernels are objects of TorchInductor's private classes.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kopt.errors import SeedError

SET_DRIVER = "triton_helpers.set_driver_to_gpu()"
"""A line of each kernel's text that looks for a real GPU."""
MAX_AUTOTUNE = "'max_autotune': True"
"""Words of each kernel's text with which its autotuner has all configurations that there are."""


@dataclass(frozen=True)
class WrittenKernel:
    """A kernel as TorchInductor wrote it."""

    name: str
    source: str
    tuner: Any
    """Its autotuner: `configs`, `size_hints`, `inductor_meta` and the jitted function `fn`."""
    untuned: Any
    """Its autotuner as `torch.compile` has it without max-autotune: where a rule chooses, it has one configuration."""

    @property
    def parameters(self) -> list[str]:
        """Names of all parameters, those of a configuration included."""
        return list(self.tuner.fn.arg_names)


@dataclass(frozen=True)
class WrittenModule:
    """The parts of TorchInductor's module."""

    kernels: dict[str, WrittenKernel]
    arguments: list[str]
    """Names of the arguments in `call`."""
    body: list[ast.stmt]
    """Statements of `call`, blocks under a device taken out of their `with`."""


def take_apart(text: str, folder: Path) -> WrittenModule:
    """Parse the module and import its kernels, under `kopt.device.build.stub_gpu.pretend`.

    Args:
        text: the module.
        folder: an existing folder for the kernels' files.

    Raises:
        SeedError: the module has a part that kopt does not know.
    """
    kernels: dict[str, WrittenKernel] = {}
    call: ast.FunctionDef | None = None
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Assign(
                targets=[ast.Name(name)], value=ast.Call(func=function, args=[_, ast.Constant(str(source)), *_])
            ):
                if ast.unparse(function) == "async_compile.triton":
                    kernels[name] = _imported(name, source, folder)
            case ast.FunctionDef(name="call"):
                call = node
    if call is None:
        raise SeedError("TorchInductor's module has no function call")
    body = list(_flat(call.body))
    names: list[str] = []
    rest = []
    for statement in body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.value) == "args":
            target = statement.targets[0]
            names = [
                ast.unparse(item) for item in (target.elts if isinstance(target, ast.Tuple | ast.List) else [target])
            ]
        else:
            rest.append(statement)
    return WrittenModule(kernels, names, rest)


def _flat(statements: list[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in statements:
        if isinstance(statement, ast.With):
            yield from _flat(statement.body)
        else:
            yield statement


def _imported(name: str, source: str, folder: Path) -> WrittenKernel:
    tuner = _tuner(name, source, folder)
    plain = source.replace(MAX_AUTOTUNE, MAX_AUTOTUNE.replace("True", "False"))
    return WrittenKernel(name, source, tuner, _tuner(name, plain, folder) if plain != source else tuner)


def _tuner(name: str, source: str, folder: Path) -> Any:
    path = folder / f"kernel_{hashlib.sha256(source.encode()).hexdigest()[:16]}.py"
    path.write_text(source.replace(SET_DRIVER, ""))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)
