"""Make torch's symbols of the sizes that the workloads change, and check that a graph holds for all of them.

`Any`: symbols are torch's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import sympy  # type: ignore[import-untyped]  # it has no types
import torch

from kopt.errors import SeedError
from kopt.seed.inductor import Inductor
from kopt.seed.sizes import Values, changes

_NOT_OF_REFERENCE = (*map(str, (*torch.__path__, *sympy.__path__)), str(Path(__file__).parents[1]))
"""Folders of code that is no reference's."""


class FixedSizes(SeedError):
    """Sizes became numbers, or other sizes."""

    def __init__(self, message: str, sizes: Sequence[Values]) -> None:
        super().__init__(message)
        self.sizes = sizes


class Symbols:
    """The symbols of sizes, made when they are asked for."""

    def __init__(self, inductor: Inductor, env: Any, names: dict[Values, str], decides: int) -> None:
        self._inductor, self._env, self._names, self._decides = inductor, env, names, decides
        self._values: dict[Any, Values] = {}
        self._made: dict[Values, Any] = {}

    def size(self, values: Values, place: str, multiple: bool = False) -> Any:
        """Return a new symbol for a size with these values; a number where no workload changes it.

        Args:
            values: the values of the size, workload by workload.
            place: name of the size.
            multiple: whether to return the multiple of a known symbol where the size is one in every workload.
        """
        if not changes(values) or values[0] < 2:
            return values[0]
        if multiple and (known := self._multiple_of(values)) is not None:
            return known
        source, hint = self._inductor.constant_source(place), values[self._decides]
        if hint < 2:
            raise SeedError("torch takes sizes of 0 and 1 for numbers")
        symbol = self._env.create_symbol(hint, source, self._inductor.dim_dynamic.DYNAMIC)
        made = self._env.create_symintnode(symbol, hint=hint, source=source)
        self._names.setdefault(values, place)
        self._values[symbol] = values
        self._made.setdefault(values, made)
        return made

    def _multiple_of(self, values: Values) -> Any:
        """Return the multiple of a symbol that has these values in all workloads; None where there is none."""
        if values in self._made:
            return None
        for own, made in self._made.items():
            if all(v % o == 0 and v // o == values[0] // own[0] for o, v in zip(own, values, strict=True)):
                return made * (values[0] // own[0])
        return None

    def check_free(self, workloads: Sequence[str], traced: bool = True) -> None:
        """Check that no symbol became a number, or another size.

        Args:
            workloads: titles of the workloads, in the order of the values.
            traced: whether to check decisions, too; those of TorchInductor choose tiles.

        Raises:
            SeedError: the graph holds for some workloads only; the message names the size.
        """
        lost: dict[str, Values] = {}
        for symbol, values in self._values.items():
            now = self._env.simplify(symbol)
            read = now.free_symbols
            if not read <= self._values.keys():
                continue
            for place, value in enumerate(values):
                if now.subs({other: self._values[other][place] for other in read}) != value:
                    lost[self._names[values]] = values
        for symbols in self._of_decisions() if traced else ():
            lost |= {self._names[self._values[symbol]]: self._values[symbol] for symbol in symbols}
        if lost:
            raise FixedSizes(_fixed_sizes(lost, workloads), list(lost.values()))

    def _of_decisions(self) -> Iterator[set[Any]]:
        """Yield the symbols of each decision that other workloads take otherwise.

        These are the reference's own, as `if size % 2`, and expressions that became a number, as by float().  Other
        decisions of torch are about the order of memory, mostly.
        """
        for guard in self._env.guards:
            read = guard.expr.free_symbols
            is_number = guard.expr.func is sympy.Eq and guard.expr.rhs.is_number
            if (is_number or _is_of_reference(guard)) and read <= self._values.keys():
                columns = zip(*(self._values[symbol] for symbol in read), strict=True)
                if not all(guard.expr.subs(dict(zip(read, column, strict=True))) for column in columns):
                    yield read

    def decide_by_first(self) -> None:
        """Let the first workload's sizes be those by which TorchInductor chooses tiles."""
        for symbol, values in self._values.items():
            self._env.backed_var_to_val[symbol] = sympy.Integer(values[0])


def _is_of_reference(guard: Any) -> bool:
    """Return whether a decision was taken in the code of the reference, not in torch's or kopt's."""
    place = getattr(guard.sloc.framework_loc, "filename", "")
    return bool(place) and not place.startswith(_NOT_OF_REFERENCE)


def _fixed_sizes(sizes: dict[str, Values], workloads: Sequence[str]) -> str:
    each = ", ".join(f"{name} = {values[0]}" for name, values in sizes.items())
    changing = [
        title for at, title in enumerate(workloads) if any(values[at] != values[0] for values in sizes.values())
    ]
    return (
        f"the reference holds for {each} alone (a loop of so many passes, a branch that depends on it, or a size that "
        f"becomes a plain number), which {', '.join(changing)} change{'' if changing[1:] else 's'}: give it that value "
        "there too, in problem.yaml (docs/seeds.md), or write the kernel by hand"
    )
