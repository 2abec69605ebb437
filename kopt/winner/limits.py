"""Say in words for which arguments a kernel runs, and what happens for all others."""

from __future__ import annotations

from collections.abc import Sequence

from kopt.winner.accepted import MULTIPLE, POWER, Pattern, by_divisor
from kopt.winner.constants import Made

WARNING = "PyTorch runs"
"""Begin of the warning of an exported file."""
MOST_FIXED = 8
"""Most fixed sizes that are named."""


def limits(made: Made, *, guarded: bool) -> list[tuple[str, str]]:
    """Say for which arguments a kernel runs, each fact with its label.

    Args:
        made: what the arguments have to be like, and what the reference's model is made with.
        guarded: whether PyTorch runs for all others; else nothing checks them.
    """
    tensors = [one for one in made.patterns if one.dtype]
    facts = [("runs for", ", ".join(map(_argument, made.patterns)))]
    facts += [*_sizes(tensors), *_labelled("model", _model(made)), *_labelled("memory", _memory(tensors))]
    if not guarded:
        return [*facts, ("else", "nothing checks the arguments in this form: others may give wrong results")]
    others = (
        "other dtypes, other numbers of dimensions, sizes or strides, tensors that are empty (unless such were "
        "verified) or off the GPU, gradients"
    )
    facts.append(("else", f"PyTorch runs in place of the kernel, with a warning that says why: {others}"))
    facts.append(
        ("", f"it comes once for each kind of reason; to silence it: warnings.filterwarnings('ignore', {WARNING!r})")
    )
    inputs = [one for one in tensors if one.is_input]
    if any(len(one.sizes) > 1 for one in inputs):
        listed = ", ".join(f"{one.name} {len(one.sizes)}" for one in inputs)
        advice = "reshape an input that has others, or make a problem with such inputs"
        facts.append(("", f"numbers of dimensions that run the kernel: {listed}; {advice}"))
    return facts


def _argument(one: Pattern) -> str:
    if one.dtype:
        return f"{one.name} {one.dtype}[{', '.join(map(str, one.sizes))}]"
    return f"{one.name} = {one.values[0]}" if one.values else f"any {one.name}"


def _sizes(tensors: Sequence[Pattern]) -> list[tuple[str, str]]:
    """Say which sizes vary, by what rule, and which are fixed."""
    every = dict.fromkeys(size for one in tensors for size in one.sizes if isinstance(size, str))
    names = [name for name in every if name.isidentifier()]
    powers = [name for name in names if name.startswith(POWER)]
    multiples = [name for name in names if name.startswith(MULTIPLE)]
    others = [name for name in names if name not in (*powers, *multiples)]
    varies = []
    if others:
        varies.append(f"{', '.join(others)}: any size, the same wherever the name stands")
    for divisor, several in by_divisor(multiples).items():
        varies.append(f"{', '.join(several)}: multiples of {divisor}, as all sizes were with which it was verified")
    for divisor, several in by_divisor(powers).items():
        kind = "any power of two" if divisor == 1 else f"powers of two from {divisor} on"
        varies.append(f"{', '.join(several)}: {kind}, as all sizes were with which it was verified")
    if following := [size for size in every if size not in names]:
        varies.append(f"{', '.join(following)}: as in all sizes with which it was verified")
    fixed = [
        f"dimension {place} of {one.name} is {size}"
        for one in tensors
        for place, size in enumerate(one.sizes)
        if isinstance(size, int)
    ]
    more = f" and {len(fixed) - MOST_FIXED} more" if fixed[MOST_FIXED:] else ""
    held = [f"{', '.join(fixed[:MOST_FIXED])}{more}, and nothing else"] if fixed else []
    said = [*_labelled("varies", varies or ["no size"]), *_labelled("fixed", held)]
    if powers or multiples or fixed:
        kinds = "a size that is fixed, a power of two or a multiple"
        said.append(("", f"{kinds} becomes free with a workload that has another one, such as an odd one"))
    return said


def _model(made: Made) -> list[str]:
    """Say what the reference's model is made with, as far as it differs between workloads."""
    sizes = ", ".join(f"{name} = {size}" for name, size in made.sizes.items())
    held = ", ".join(f"{name} = {value}" for name, value in made.held.items())
    said = [f"the reference's Model made with {sizes}, as the arguments at hand have it"] if sizes else []
    return said + ([f"made for {held}: workloads with another value free no size"] if held else [])


def _labelled(label: str, lines: Sequence[str]) -> list[tuple[str, str]]:
    """Give a label to the first of some lines."""
    return [(label if not place else "", line) for place, line in enumerate(lines)]


def _memory(tensors: Sequence[Pattern]) -> list[str]:
    said = [f"{one.name} with the strides {' or '.join(map(str, one.strides))}" for one in tensors if one.strides]
    said += [
        f"{one.name} with its dimensions in the order {one.order} in memory"
        for one in tensors
        if not one.strides and one.order != tuple(range(len(one.sizes)))
    ]
    rest = len(said) < len(tensors)
    return [*said, *([f"{'all others ' if said else ''}contiguous"] if rest else [])]
