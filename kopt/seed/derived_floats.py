"""Find how numbers that a model keeps follow from sizes, such as `self.scale = dim ** -0.5`.

A graph would hold the number of one workload.  `Any`: graphs and symbols are torch's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations_with_replacement
from typing import Any, NamedTuple

import torch
from torch.utils._pytree import tree_leaves

from kopt.errors import SeedError
from kopt.seed.kept_numbers import Place
from kopt.seed.sizes import Setting, Values, changes, changing

SAME = 1e-12
"""Largest relative difference of equal numbers."""
MOST_SIZES = 12
"""Most sizes of which products are tried."""


class Form(NamedTuple):
    """A function of a size."""

    number: Callable[[float], float]
    symbol: Callable[[Any], Any]
    """The same function of torch's symbol for the size as a float."""


FORMS = (
    Form(lambda size: size, lambda size: size),
    Form(lambda size: 1.0 / size, lambda size: 1.0 / size),
    Form(math.sqrt, torch.sym_sqrt),
    Form(lambda size: 1.0 / math.sqrt(size), lambda size: 1.0 / torch.sym_sqrt(size)),
)
"""Functions of a size of which a number that a model keeps may be a multiple."""


@dataclass
class DerivedFloats:
    """Numbers of a model that the workloads change."""

    made: list[tuple[Place, Callable[[], Any]]] = field(default_factory=list)
    """Numbers that follow from sizes, each with the function that computes the number from symbols of sizes."""
    left: dict[str, float] = field(default_factory=dict)
    """Values, in the first workload, of the numbers that follow from no size, by name."""

    def put(self) -> None:
        """Put functions of the symbols of sizes in place of numbers, while torch traces what the symbols go into."""
        for number, value in self.made:
            number.store(value())

    def check(self, graph: Any) -> None:
        """Check that a graph holds no number that the workloads change.

        Args:
            graph: the traced reference.

        Raises:
            SeedError: it does; the message names the attribute.
        """
        held = {leaf for node in graph.graph.nodes for leaf in tree_leaves((node.args, dict(node.kwargs)))
                if isinstance(leaf, float)}  # fmt: skip
        for name, value in self.left.items():
            if value in held:
                raise SeedError(
                    f"the model keeps {name} = {value:.6g}, which other workloads change, and kopt does not see from "
                    "which sizes it follows: compute it in forward, from the shapes of the inputs, or write the kernel "
                    "by hand"
                )


def derived_floats(settings: Sequence[Setting], sizes: Mapping[Values, Any]) -> DerivedFloats:
    """Find how the numbers of the first setting that the workloads change follow from sizes.

    Args:
        settings: the reference by workload.
        sizes: symbols of sizes, by values.
    """
    known = [(values, size) for values, size in sizes.items() if changes(values) and len(values) == len(settings)]
    derived = DerivedFloats()
    for number, values in changing(settings, float):
        found = next(_functions(values, known[:MOST_SIZES]), None)
        if found is None:
            derived.left[number.name] = values[0]
        else:
            derived.made.append((number, found))
    return derived


def _functions(values: Sequence[float], known: Sequence[tuple[Values, Any]]) -> Iterator[Callable[[], Any]]:
    """Yield the functions of a size, or of a product of two, that have these values in all workloads."""
    pairs = combinations_with_replacement(known, 2)
    single = [(own, (size,)) for own, size in known]
    for own, of in [*single, *((_times(one[0], other[0]), (one[1], other[1])) for one, other in pairs)]:
        if 0 in own or not all(math.isfinite(value) for value in values):
            continue
        for form in FORMS:
            factors = [value / form.number(float(size)) for value, size in zip(values, own, strict=True)]
            if all(math.isclose(factor, factors[0], rel_tol=SAME) for factor in factors) and factors[0]:
                yield partial(_computed, form, of, factors[0])


def _computed(form: Form, of: tuple[Any, ...], factor: float) -> Any:
    made = form.symbol(torch.sym_float(math.prod(of)))
    return made if math.isclose(factor, 1.0, rel_tol=SAME) else factor * made


def _times(one: Values, other: Values) -> Values:
    return tuple(a * b for a, b in zip(one, other, strict=True))
