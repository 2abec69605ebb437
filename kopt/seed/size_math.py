"""Let functions of `math` and NumPy keep sizes that the workloads change: `math.sqrt(q.shape[-1])` in a reference.

Python's own functions turn a symbol into the number that it stands for, and the graph would hold for that size alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any  # sizes are numbers or torch's symbols

import numpy as np
import torch


@contextmanager
def symbols_in_math() -> Iterator[None]:
    """Replace functions inside the block by ones that take torch's symbols."""
    own = [(module, name, getattr(module, name)) for module in (math, np) for name in _SYMBOLIC if name in vars(module)]
    for module, name, function in own:
        setattr(module, name, _either(function, _SYMBOLIC[name]))
    try:
        yield
    finally:
        for module, name, function in own:
            setattr(module, name, function)


def _either(own: Callable[..., Any], symbolic: Callable[..., Any]) -> Callable[..., Any]:
    def called(*values: Any, **named: Any) -> Any:
        is_symbol = any(isinstance(value, torch.SymInt | torch.SymFloat) for value in values)
        return symbolic(*values) if is_symbol else own(*values, **named)

    return called


def _log2(value: Any) -> Any:
    return torch._sym_log2(torch.sym_float(value))  # type: ignore[attr-defined]  # torch does not declare it


_SYMBOLIC: dict[str, Callable[..., Any]] = {
    "sqrt": lambda value: torch.sym_sqrt(torch.sym_float(value)),
    "log2": _log2,
    "log": lambda value, base=math.e: _log2(value) * (1 / math.log2(base)),
    "log10": lambda value: _log2(value) * math.log10(2),
}
