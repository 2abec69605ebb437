"""Keep torch's compiler out of processes that compile nothing.

Two kinds of functions of torch import all of the compiler at their first call in a process, which takes more than a
CPU second:

- those that the compiler must not trace, the functions that compute the shapes of meta tensors among them, to be kept
  out of it; where the compiler is not loaded it traces nothing, so such a function can be called as it is;
- those that read one of its settings, as each fake tensor mode does: the module of the settings can be loaded alone.
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Callable
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import torch
from torch._compile import _disable_dynamo

COMPILER = "torch._dynamo"
"""Module that torch's compiler begins with."""
_KEPT_OUT = "__dynamo_disable"
"""Attribute in which torch keeps, for a function that the compiler must not trace, what it calls in its place."""


@cache
def keep_compiler_out() -> None:
    """Let the functions that torch has defined so far run without its compiler, until something else loads it.

    Torch versions whose functions are of another form are left as they are: there the compiler is imported.
    """
    if COMPILER not in sys.modules:
        _load_settings()
    codes = [part for part in _disable_dynamo.__code__.co_consts if isinstance(part, CodeType)]
    for function in gc.get_objects():
        if type(function) is FunctionType and function.__code__ in codes:
            variables = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
            if "fn" in variables:
                _call_directly(function, variables["fn"].cell_contents)


def _load_settings() -> None:
    """Load the compiler's settings without the compiler, which finds them loaded when it is imported later."""
    name = f"{COMPILER}.config"
    file = Path(torch.__file__).with_name("_dynamo") / "config.py"
    spec = spec_from_file_location(name, file) if file.exists() else None
    if spec is None or spec.loader is None:
        return
    settings = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(settings)
    except BaseException:
        del sys.modules[name]
        raise
    torch._dynamo = _Settings(settings)  # until an import of the compiler takes its place


class _Settings(ModuleType):
    """Stand for the compiler's package as long as nothing but its settings is asked for."""

    def __init__(self, settings: ModuleType) -> None:
        super().__init__(COMPILER)
        self.config = settings

    def __getattr__(self, name: str) -> Any:
        """Import the compiler, and return what it has by that name."""
        return getattr(importlib.import_module(COMPILER), name)


def _call_directly(guarded: Callable[..., Any], function: Any) -> None:
    """Have `guarded` call its `function` directly until the compiler is loaded, and then as torch does."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if COMPILER in sys.modules:
            delattr(function, _KEPT_OUT)  # torch sets its own
            return guarded(*args, **kwargs)
        return function(*args, **kwargs)

    if not hasattr(function, _KEPT_OUT):
        setattr(function, _KEPT_OUT, call)
