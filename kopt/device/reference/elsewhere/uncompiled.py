"""Keep torch's compiler out of processes that compile nothing.

Functions of torch that its compiler must not trace, those that compute the shapes of meta tensors among them, import
all of the compiler at their first call in a process, to be kept out of it: more than a CPU second.  Where the compiler
is not loaded it traces nothing, so such a function can be called as it is.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from functools import cache
from types import CodeType, FunctionType
from typing import Any

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
    codes = [part for part in _disable_dynamo.__code__.co_consts if isinstance(part, CodeType)]
    for function in gc.get_objects():
        if type(function) is FunctionType and function.__code__ in codes:
            variables = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
            if "fn" in variables:
                _call_directly(function, variables["fn"].cell_contents)


def _call_directly(guarded: Callable[..., Any], function: Any) -> None:
    """Have `guarded` call its `function` directly until the compiler is loaded, and then as torch does."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if COMPILER in sys.modules:
            delattr(function, _KEPT_OUT)  # torch sets its own
            return guarded(*args, **kwargs)
        return function(*args, **kwargs)

    if not hasattr(function, _KEPT_OUT):
        setattr(function, _KEPT_OUT, call)
