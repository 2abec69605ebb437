"""Run a reference in float64, also where its source names narrower types.

What it converts to 16 bits by name is rounded to them; what it computes with such numbers is computed in float64.
"""

import copy
import re
from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

WIDENED = {torch.bfloat16, torch.float16, torch.float32}
"""Types for which float64 stands."""

HALVES = {torch.Tensor.bfloat16: torch.bfloat16, torch.Tensor.half: torch.float16}
"""Methods that round to 16 bits."""

CONVERSIONS = {*HALVES, torch.Tensor.float, torch.Tensor.to, torch.Tensor.type}

ASKS = re.compile(r"\bfinfo\b|\bget_default_dtype\b|\.type\(['\"(]|dtype\s*(==|!=|\bis\b|\bin\b|not in|\])")
"""Words with which a reference asks for a tensor's type (`x.dtype == torch.half`): in float64 the answer is another."""


class Widened(TorchFunctionMode):
    """Have float64 stand for narrower floating-point types, save for those of 8 bits."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function of torch, with float64 for the types that it is given."""
        kwargs = kwargs or {}
        given = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.dtype)]
        if func is torch.Tensor.view and given:
            raise RuntimeError("it reads the bits of numbers")
        half = next((one for one in (HALVES.get(func), *given) if one in HALVES.values()), None)
        if func in HALVES or func is torch.Tensor.float:
            args = args[:1]
            made = args[0].double()
        else:
            made = func(*map(wide, args), **{name: wide(value) for name, value in kwargs.items()})
        alone = not any(isinstance(value, torch.Tensor) for value in (*args, *kwargs.values()))
        return made.to(half).double() if half is not None and (func in CONVERSIONS or alone) else made


def wide(value: Any) -> Any:
    """Return float64 for a type of 16 or 32 bits, and any other value as it is."""
    return torch.float64 if isinstance(value, torch.dtype) and value in WIDENED else value


def result_of(function: Callable[..., Any], inputs: list[Any]) -> list[Any]:
    """Call a function on copies of the inputs; return its result and the copies, which it may have changed."""
    copies = copy.deepcopy(inputs)
    return [function(*copies), copies]


def exact_result(model: torch.nn.Module, inputs: list[Any], reference: str) -> tuple[list[Any] | None, str]:
    """Run a reference in float64.

    Args:
        model: the reference's model, in its own type.
        inputs: its inputs, in float64.
        reference: its source.

    Returns:
        Its result, and empty words; None, and why it does not run in float64, as where it reads the bits of numbers.
    """
    if asked := ASKS.search(reference):
        return None, f"it asks for a type: {asked.group().strip()}"
    try:
        with Widened():
            return result_of(copy.deepcopy(model).double(), inputs), ""
    except Exception as error:  # noqa: BLE001 - whatever it raises in a type that is not its own
        return None, f"{type(error).__name__}: {error}".partition("\n")[0]
