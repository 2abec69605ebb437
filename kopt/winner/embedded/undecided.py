"""Find what ties and rounding decide in a result: run the reference again, as a GPU might as well compute it.

Equal elements are chosen in another order, and what operations compute is rounded otherwise.  Inputs stay as they are,
and so does what the dtype of a result holds exactly: a comparison of inputs, a sum of ones and a cast of whole numbers
have one right result, also on the edge of two.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

TURNS = 6
"""Orders of equal elements that are tried: each place among at most as many gets every one of them."""

MANY = 4
"""Different numbers that runs give in one place, from which still other ones may be right."""

CHANGE = 2.0**-18
"""Relative change of what operations compute with, and of what they compute: above errors of sums in float32."""

Sort = tuple[torch.Tensor, int, torch.Tensor]
"""Operand, dimension and indexes of a sort."""

UNORDERED = ("topk", "sort", "kthvalue", "median", "nanmedian", "mode")
"""Operations that give indexes of equal elements in any order."""


def tensors_of(value: Any) -> list[torch.Tensor]:
    """List the tensors in a value."""
    if isinstance(value, torch.Tensor):
        return [value]
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for one in values for tensor in tensors_of(one)]


def numbers_of(value: Any) -> list[torch.Tensor]:
    """List the tensors in a value, numbers of 8 bits in float32: torch reduces and compares no such."""
    tensors = tensors_of(value)
    return [one.float() if one.is_floating_point() and one.element_size() == 1 else one for one in tensors]


def distance(values: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return the difference of each element, in float64: 0 for the same infinity or NaN, else infinity for those."""
    wide, other = values.double(), others.double()
    same = (wide == other) | (wide.isnan() & other.isnan())
    return torch.where(same, 0.0, (wide - other).abs()).nan_to_num(float("inf"), float("inf"))


def is_other(one: torch.Tensor, two: torch.Tensor) -> bool:
    """Return whether two tensors of one shape differ."""
    return one.shape == two.shape and bool(distance(one, two).any())


def size_of(tensor: torch.Tensor) -> float:
    """Return the largest magnitude of a tensor's finite elements, at least 1e-30: errors are divided by it."""
    return max(float(tensor.double().abs().nan_to_num(0, 0, 0).max()), 1e-30) if tensor.numel() else 1e-30


def floating(value: Any) -> list[torch.Tensor]:
    """List the tensors of floating-point numbers in a value."""
    return [tensor for tensor in tensors_of(value) if tensor.is_floating_point()]


def noise(values: torch.Tensor, seed: int) -> torch.Tensor:
    """Return numbers from -1 to 1 that follow from float64 values: equal ones get the same, so that ties stay ties."""
    bits = values.view(torch.int64)
    for shift, factor in ((32, 0x9E3779B97F4A7C1 + 2 * seed), (29, 0xBF58476D1CE4E5B), (32, 0x94D049BB133111E | 1)):
        bits = (bits ^ (bits >> shift)) * factor
    return (bits >> 11).double() / 2**52


def sorting(operand: torch.Tensor, dim: int, largest: bool, turn: int) -> torch.Tensor:
    """Return indexes that sort an operand: in each turn, a place among equal elements gets one further on."""
    values, order = operand.movedim(dim, -1).sort(descending=largest, stable=True)
    place = torch.arange(values.shape[-1], device=values.device).expand(values.shape)
    edge, differs = torch.ones_like(values[..., :1], dtype=torch.bool), values[..., 1:] != values[..., :-1]
    first = place.where(torch.cat([edge, differs], -1), 0).cummax(-1).values
    last = place.where(torch.cat([differs, edge], -1), values.shape[-1]).flip(-1).cummin(-1).values.flip(-1)
    count = last - first + 1
    step = turn * (count // TURNS).clamp_min(1)
    return order.gather(-1, first + (place - first + step) % count).movedim(-1, dim)


def place_of(values: torch.Tensor, operand: torch.Tensor, dim: int, turn: int) -> torch.Tensor:
    """Return the indexes of elements that equal the values, one for each row of an operand; another in each turn."""
    equal = operand.movedim(dim, -1) == values.unsqueeze(-1)
    count = equal.cumsum(-1)
    return (equal & (count == 1 + turn % count[..., -1:].clamp_min(1))).byte().argmax(-1)


def holds(values: torch.Tensor, indexes: torch.Tensor) -> bool:
    """Return whether a tensor holds some indexes, perhaps in another shape or integer type."""
    return not values.is_floating_point() and torch.equal(values.flatten().long(), indexes.flatten())


def choices(
    values: torch.Tensor, operand: torch.Tensor, dim: int, indexes: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return which indexes lead to elements that equal the right ones, and which occur for the first time in a row."""
    places = values.reshape(indexes.shape).long()
    inside = (places >= 0) & (places < operand.shape[dim])
    equal = operand.gather(dim, places.where(inside, 0)) == operand.gather(dim, indexes)
    ranked, order = places.sort(dim)
    new = ranked.diff(dim=dim, prepend=ranked.narrow(dim, 0, 1) - 1) != 0
    return inside & equal, new.scatter(dim, order, new)


class Otherwise(TorchDispatchMode):
    """Run operations as a GPU might as well: equal elements in turn, rounded otherwise in each run of the reference.

    Runs 0 and 1, 2 and 3, ... change numbers in opposite directions; runs 0 and 1 order equal elements alike.
    """

    def __init__(self, run: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not type it
        self.turn, self.seed, self.change = max(run - 1, 0), run // 2, CHANGE if run % 2 else -CHANGE
        self.sorts: list[Sort] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation, and change its result in place."""
        kwargs, name = kwargs or {}, func.overloadpacket.__name__
        result = func(*args, **kwargs)
        if name in UNORDERED and isinstance(result, tuple):
            names = [argument.name for argument in func._schema.arguments]
            self.choose(name, {"dim": -1, **dict(zip(names, args, strict=False)), **kwargs}, *result)
        elif not (func.is_view or func._schema.is_mutable or torch.Tag.nondeterministic_seeded in func.tags):
            self.round(func, args, kwargs, floating(result))
        return result

    def choose(self, name: str, given: dict[str, Any], values: torch.Tensor, indexes: torch.Tensor) -> None:
        """Replace indexes by those of other elements that are equal."""
        operand, dim = given["self"], given["dim"]
        if not operand.dim() or given.get("stable") or not given.get("sorted", True):
            return
        if name in ("topk", "sort"):
            order = sorting(operand, dim, given.get("largest", given.get("descending", name == "topk")), self.turn)
            indexes.copy_(order.narrow(dim, 0, indexes.shape[dim]))
            self.sorts += [] if self.turn else [(operand.clone(), dim, indexes.clone())]
        else:
            one = place_of(values.squeeze(dim) if given.get("keepdim") else values, operand, dim, self.turn)
            indexes.copy_(one.reshape(indexes.shape))

    def round(self, func: Any, args: Any, kwargs: Any, results: list[torch.Tensor]) -> None:
        """Round the results of an operation otherwise, save for numbers that their dtype holds."""

        def wide(value: Any, change: float) -> Any:
            if isinstance(value, torch.dtype) and value.is_floating_point:
                return torch.float64
            if not floating(value):
                return value
            return value.double() * (1 + change * noise(value.double(), self.seed) if change else 1)

        def computed(change: float) -> list[torch.Tensor]:
            moved, named = tree_map(lambda value: wide(value, change), (args, kwargs))
            return floating(func(*moved, **named))

        if not results or not floating([args, kwargs]):
            return
        try:
            exact = computed(0.0)
            held = [one.to(own.dtype).double() == one for own, one in zip(results, exact, strict=True)]
            near = exact if all(bool(one.all()) for one in held) else computed(self.change)
        except RuntimeError:  # the operation has no float64
            return
        for own, kept, one, other in zip(results, held, exact, near, strict=True):
            step = max(torch.finfo(own.dtype).eps / 2 / CHANGE, 1.0) * self.change
            own.copy_(torch.where(kept, one, other * (1 + step * noise(one, self.seed))))


class Right:
    """The right values of a result: the most exact ones, and where runs differ, those of each run."""

    def __init__(self, exact: Any, unit: float = 0.0, again: Callable[[], Any] | None = None) -> None:
        """Compute the right values.

        Args:
            exact: the most exact result.
            unit: unit of roundoff of the reference's dtype.
            again: runs the reference in its own dtype; None where ties and rounding decide nothing.
        """
        self.exact = numbers_of(exact)
        self.runs: list[list[torch.Tensor]] = []
        self.sorts: list[Sort | None] = [None] * len(self.exact)
        """The sort whose indexes a tensor holds, by tensor; None for other ones."""
        self.refused = ""
        """Why the reference could not be run otherwise; empty where it could."""
        for run in range(TURNS + 1) if again else ():
            assert again is not None
            try:
                with Otherwise(run) as mode:
                    tensors = numbers_of(again())
            except RuntimeError as error:  # what torch compiles or runs as a whole (flex_attention) lets nobody in
                self.runs, self.refused = [], type(error).__name__
                break
            if not run:
                self.sorts = [next((sort for sort in mode.sorts if holds(one, sort[2])), None) for one in tensors]
            self.runs.append([two if is_other(one, two) else one for one, two in zip(self.exact, tensors, strict=True)])
        self.near = [0.0] * len(self.exact)
        """Difference of two runs, by tensor, that rounding explains; 0 for whole numbers."""
        self.open = [torch.zeros_like(tensor, dtype=torch.bool) for tensor in self.exact]
        """Which elements ties or rounding decide, by tensor."""
        for at, tensor in enumerate(self.exact):
            changed = [run[at] for run in self.runs if run[at] is not tensor]
            least = 0.0
            if tensor.is_floating_point() and changed:
                typical = float(distance(self.runs[0][at], self.runs[1][at]).median())
                self.near[at] = max(64 * CHANGE * size_of(tensor), 8 * typical)
                least = 2 * unit * size_of(tensor)
            for other in changed:
                self.open[at] |= distance(other, tensor) > max(self.near[at], least)

    def share(self, *, whole: bool) -> float:
        """Return the largest share of a tensor's whole numbers, or other ones, that ties or rounding decide."""
        masks = [mask for mask, of in zip(self.open, self.exact, strict=True) if of.is_floating_point() != whole]
        return max((float(mask.double().mean()) for mask in masks if mask.numel()), default=0.0)

    def gaps(self, at: int, values: torch.Tensor) -> torch.Tensor:
        """Return how far each element of tensor number `at` is from the nearest right one.

        Where runs have chosen many an element, further ones are right: those that are as large, where the tensor holds
        the indexes of a sort; else no more is known than the range of all runs.
        """
        gap, runs, decided = distance(values, self.exact[at]), [run[at] for run in self.runs], ~self.open[at]
        if bool(decided.all()):
            return gap
        for run in runs:
            gap = gap.where(decided, gap.minimum(distance(values, run)))
        steps = torch.stack([run.double() for run in runs]).sort(dim=0).values.diff(dim=0) > self.near[at]
        many = ~decided & (steps.sum(0) >= MANY - 1)
        sort = self.sorts[at]
        if sort is None:
            low, high = min(float(run.min()) for run in runs), max(float(run.max()) for run in runs)
            return gap.where(~(many & (values >= low) & (values <= high)), 0.0)
        equal, first = (mask.reshape(values.shape) for mask in choices(values, *sort))
        return gap.where(~(many & equal), 0.0).where(first | decided, gap.clamp_min(1.0))
