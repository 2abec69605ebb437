"""Add into tensors of bfloat16 in float32: TorchInductor has no Triton for atomic additions in bfloat16.

`Any`: tables of decompositions hold operators of torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._pytree import tree_map

Table = dict[Any, Callable[..., Any]]


def table(inductor: Table) -> Table:
    """Return the decompositions of the operators that add values at indexes."""
    aten = torch.ops.aten
    adding = (aten.index_add.default, aten.scatter_add.default)
    where_asked = (aten.index_put.default, aten._unsafe_index_put.default)
    return {
        **{operator: _in_float32(operator, inductor.get(operator), lambda *_: True) for operator in adding},
        **{operator: _in_float32(operator, inductor.get(operator), _accumulates) for operator in where_asked},
    }


def _accumulates(x: torch.Tensor, indices: Any, values: Any, accumulate: bool = False, *others: Any) -> bool:
    return accumulate


def _in_float32(operator: Any, inductor: Callable[..., Any] | None, adds: Callable[..., bool]) -> Callable[..., Any]:
    def decomposed(x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if x.dtype is not torch.bfloat16 or not adds(x, *args, **kwargs):
            return inductor(x, *args, **kwargs) if inductor else NotImplemented
        wide, named = tree_map(_wide, (args, kwargs))
        return operator(x.float(), *wide, **named).to(x.dtype)

    return decomposed


def _wide(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) and value.dtype is torch.bfloat16 else value
