"""Put symbols in the place of whole numbers that a reference keeps and the workloads change.

A number is a size, follows from sizes, or is an argument of the graph of its own.  `Any`: graphs and symbols are
torch's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from kopt.errors import SeedError
from kopt.seed.kept_numbers import Place
from kopt.seed.sizes import Setting, Values, changes, changing
from kopt.seed.symbols import Symbols

MOST_PARTS = 64
"""Most parts of a size, one of which a number may be."""


@dataclass(frozen=True)
class Argument:
    """An argument of the graph: how the code of `kernel_function` calls it."""

    parameter: str
    """Name of the parameter of `kernel_function`."""
    path: str
    """What follows the name: `[0]`, or nothing."""
    sizes: tuple[str, ...] = ()
    """Names of its dimensions' sizes; empty for a size that no workload changes."""
    is_input: bool = False
    is_tensor: bool = True


@dataclass
class WholeNumbers:
    """Whole numbers that the reference keeps and the workloads change."""

    known: dict[Values, Any]
    """Sizes, by values."""
    symbols: Symbols
    arguments: list[Any]
    names: list[Argument]
    hidden: dict[int, str] = field(default_factory=dict)
    """Numbers that no kernel can be given, by their place among the arguments."""

    def put(self, settings: Sequence[Setting]) -> None:
        """Replace numbers by the sizes that they are, or by symbols of their own."""
        changed = changing(settings, int)
        for number, values in sorted(changed, key=lambda one: not one[0].is_passed):
            number.store(self._size(number, values))

    def check(self, graph: Any) -> None:
        """Check that the graph reads no number that no kernel can be given.

        Raises:
            SeedError: it does; the message names the number.
        """
        read = [place for place, node in enumerate(graph.graph.find_nodes(op="placeholder")) if node.users]
        for place in self.hidden.keys() & set(read):
            raise SeedError(
                f"the reference keeps {self.hidden[place]} = {int(self.arguments[place].node.hint)}, which other "
                "workloads change, and kopt does not see from which sizes it follows: compute it in forward, from the "
                "shapes of the inputs, or keep it in an attribute of the model, or write the kernel by hand"
            )

    def _size(self, number: Place, values: Values) -> Any:
        if values in self.known:
            return self.known[values]
        known = {own: size for own, size in self.known.items() if changes(own) and len(own) == len(values)}
        made = _ratio(values, known)
        if made is None and not number.is_passed:
            made = _sum(values, known)
        if made is not None:
            return made
        name = word(number.name)
        made = self.symbols.size(values, name)
        self.known[values] = made
        if not isinstance(made, int):
            if not number.is_passed or any(name == argument.parameter for argument in self.names):
                self.hidden[len(self.arguments)] = number.name
            self.arguments.append(made)
            self.names.append(Argument(name, "", is_tensor=False))
        return made


def _ratio(values: Values, known: Mapping[Values, Any]) -> Any | None:
    """Return the multiple, or the part, of a known size that has these values; the simplest one."""
    of = [
        (size, Fraction(values[0], own[0]))
        for own, size in known.items()
        if 0 not in own + values and len({Fraction(v, o) for v, o in zip(values, own, strict=True)}) == 1
    ]
    if not of:
        return None
    size, ratio = min(of, key=lambda one: one[1].numerator * one[1].denominator)
    return size * ratio.numerator // ratio.denominator if ratio.denominator > 1 else size * ratio.numerator


def _sum(values: Values, known: Mapping[Values, Any]) -> Any | None:
    """Return the sum or the difference of a known size and a number, or of two known sizes, that has these values.

    A part of a known size is taken, too, though it leaves a rest.
    """
    for own, size in known.items():
        rest = tuple(v - o for v, o in zip(values, own, strict=True))
        if not changes(rest):
            return size + rest[0]
        for sign in (1, -1):
            if (other := known.get(tuple(sign * r for r in rest))) is not None:
                return size + sign * other
        for part in range(2, MOST_PARTS + 1):
            if values == tuple(o // part for o in own):
                return size // part
    return None


def word(text: str) -> str:
    """Return a text as an identifier, or a part of one."""
    return "".join(char if char.isalnum() else "_" for char in text).strip("_")
