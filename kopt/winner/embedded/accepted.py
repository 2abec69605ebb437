"""Decide in an exported file whether the kernel may run on some arguments; the text of this module is written there."""

import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

_TOLD = set[str]()
_REFUSALS = dict[tuple[Any, ...], str]()
"""Answers of `refusal` by the kind of arguments (shapes, strides, dtypes, device): asking anew for each call would take
longer than a small kernel."""
LARGEST = (1 << 31) - 1
"""Most elements from the first to the last one of a tensor: kernels were verified with no more."""
MOST_REFUSALS = 1000
"""Most entries of `_REFUSALS`, which is emptied then."""


def refused(arguments: Sequence[Any], inputs: Sequence[Any], weights: Sequence[Any]) -> str:
    """Return what `refusal` says, which is asked once for each kind of inputs and weights."""
    if torch.compiler.is_compiling():
        return refusal(arguments, inputs, weights)
    gradients = torch.is_grad_enabled()
    seen = tuple(
        (one.shape, one.stride(), one.dtype, one.device, gradients and one.requires_grad)
        if isinstance(one, torch.Tensor)
        else repr(one)
        for one in (*inputs, *weights)
    )
    try:
        reason = _REFUSALS.get(seen)
    except TypeError:  # sizes that are symbols
        return refusal(arguments, inputs, weights)
    if reason is None:
        if len(_REFUSALS) >= MOST_REFUSALS:
            _REFUSALS.clear()
        _REFUSALS[seen] = reason = refusal(arguments, inputs, weights)
    return reason


def refusal(arguments: Sequence[Any], inputs: Sequence[Any], weights: Sequence[Any]) -> str:
    """Return why the kernel may not run on inputs and weights, in words; empty where it may."""
    if len(inputs) != sum(one[1] for one in arguments):
        return f"there are {len(inputs)} inputs"
    sizes: dict[str, int] = {}
    device = None
    for (name, _, dtype, wanted, order, strides, values), given in zip(arguments, (*inputs, *weights), strict=True):
        if not dtype:
            if values and repr(given) not in values:
                return f"{name} is {given!r}, not {values[0]}"
            continue
        if not isinstance(given, torch.Tensor) or not given.is_cuda:
            return f"{name} is no CUDA tensor"
        if str(given.dtype) != f"torch.{dtype}":
            return f"{name} is {given.dtype}, not torch.{dtype}"
        if given.dim() != len(wanted):
            return f"{name} has {given.dim()} dimensions, not {len(wanted)}"
        if 1 + sum(step * (size - 1) for size, step in zip(given.shape, given.stride(), strict=True)) > LARGEST:
            return f"{name} has more elements than index arithmetic in 32 bits reaches"
        if device is not None and given.device != device:
            return f"{name} is on {given.device}, not on {device}"
        device = given.device
        for place, (size, want) in enumerate(zip(given.shape, wanted, strict=True)):
            expected = wanted_size(want, sizes, size) if isinstance(want, str) else want
            if size != expected:
                rule = f" ({want})" if isinstance(want, str) and want not in sizes else ""
                return f"dimension {place} of {name} is {size}, not {expected if expected >= 0 else 'whole'}{rule}"
            if isinstance(want, str) and (fault := other_kind(want, size)):
                return f"dimension {place} of {name} is {size}, {fault}"
        if strides and tuple(given.stride()) not in strides:
            return f"{name} has the strides {tuple(given.stride())}, not {strides[0]}"
        if not strides and not given.permute(order).is_contiguous():
            return f"{name} does not lie in memory in the order {tuple(order)} of its dimensions"
        if fault := gradient_of(name, given):
            return fault
    return ""


def gradient_of(name: str, given: Any) -> str:
    """Return in words that a gradient of an argument is asked for; empty where it is not."""
    asked = isinstance(given, torch.Tensor) and torch.is_grad_enabled() and given.requires_grad
    return f"a gradient of {name} is asked for, which the kernel does not compute" if asked else ""


def sizes_at_hand(
    wanted: Mapping[str, str], arguments: Sequence[Any], inputs: Sequence[Any], weights: Sequence[Any]
) -> dict[str, int]:
    """Return the sizes with which a model is made as the inputs and weights have them; none that they do not tell.

    Args:
        wanted: for each argument of the model, the name of a size of `arguments`, or how it follows from one.
        arguments: what the inputs and weights have to be like.
        inputs: of the kernel.
        weights: parameters and buffers of the model.
    """
    sizes: dict[str, int] = {}
    for (_, _, dtype, names, *_), given in zip(arguments, (*inputs, *weights), strict=False) if wanted else ():
        if dtype and isinstance(given, torch.Tensor) and given.dim() == len(names):
            for name, size in zip(names, given.shape, strict=True):
                if isinstance(name, str) and name.isidentifier():
                    sizes.setdefault(name, int(size))
    found = {}
    for argument, want in wanted.items():
        if all(name in sizes for name in re.split(r"[*/+-]", want) if not name.isdigit()):
            found[argument] = wanted_size(want, sizes, 0)
    return {argument: size for argument, size in found.items() if size >= 0}


def other_size(made: Mapping[str, Any], at_hand: Mapping[str, int]) -> str:
    """Return in words why a model is made for other sizes than those at hand; empty where it is not."""
    for name, size in at_hand.items():
        if made[name] != size:
            return f"the model is made with {name} = {made[name]!r}, the inputs are for {size}"
    return ""


def wanted_size(want: str, sizes: dict[str, int], size: int) -> int:
    """Return the size that a dimension has to have by those before it; its own where it is the first of its name.

    A size may follow from those of other names: `size0*2`, `size0/64` (-1 where that is no whole number), `size0+1`,
    `size0-1`, `size0*size1`, `size0/size1`.
    """
    for sign in "*/+-":
        name, found, operand = want.partition(sign)
        if found:
            one, other = sizes[name], int(operand) if operand.isdigit() else sizes[operand]
            if sign == "/":
                return -1 if not other or one % other else one // other
            return one * other if sign == "*" else one + (other if sign == "+" else -other)
    return sizes.setdefault(want, size)


def other_kind(want: str, size: int) -> str:
    """Return in words why a size is not of the kind that its name says; empty where it is.

    The kinds: `size0`, `power0`, `power0_from_8`, `multiple0_of_8`; with `_or_0` where the size may be 0.
    """
    if size == 0:
        return "" if want.endswith("_or_0") else "with which nothing was verified"
    words = want.split("_") if want.isidentifier() else [""]
    least = int(words[2]) if words[1:2] in (["of"], ["from"]) else 1
    if words[0].startswith("power") and (size & (size - 1) or size < least):
        return "no power of two" + (f" from {least} on" if least > 1 else "")
    if words[0].startswith("multiple") and size % least:
        return f"no multiple of {least}"
    return ""


def tell(reason: str) -> None:
    """Warn that PyTorch runs in place of the kernel, at the caller's line; once for reasons that differ in numbers."""
    kind = re.sub(r"\d+", "", reason)
    if kind not in _TOLD and not torch.compiler.is_compiling():
        _TOLD.add(kind)
        frame, level = sys._getframe(1), 2
        own = (tell.__code__.co_filename, str(Path(torch.__file__).parent))
        while frame.f_back is not None and frame.f_code.co_filename.startswith(own):
            frame, level = frame.f_back, level + 1
        warnings.warn(f"PyTorch runs, not kopt's kernel: {reason}", stacklevel=level)
