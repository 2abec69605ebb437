"""See which inputs and parameters must have edges together, so that an operation of the reference has them.

A norm of the second input divides by nothing small where only the first input is zero, and a norm of a sum only where
both are.  So every set of inputs and parameters of which some divisor is made gets edges of its own, while all others
are normal.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_unflatten

from kopt.device.draws.exponentials import EXPONENTIALS
from kopt.device.draws.lows import ALONG
from kopt.device.draws.model import state_of
from kopt.device.draws.sources import Source, Sources
from kopt.device.reference.forward import call
from kopt.device.reference.other_type import computing_in, copied_in
from kopt.errors import ProblemError

MOST_SETS = 4
"""Sets that get edges of their own; further ones get them together, with the last of these."""

DIVISORS = {
    "div": 1, "true_divide": 1, "remainder": 1, "fmod": 1, "reciprocal": 0, "rsqrt": 0, "sqrt": 0, "log": 0, "log2": 0,
    "log10": 0, "pow": 0, "std": 0, "std_mean": 0, "var": 0, "var_mean": 0, "norm": 0, "linalg_vector_norm": 0,
    "renorm": 0, "_weight_norm_interface": 0, "native_layer_norm": 0, "native_group_norm": 0, "_fused_rms_norm": 0,
    "cosine_similarity": 0, "_cdist_forward": 0, "_euclidean_dist": 0,
}  # fmt: skip
"""Operations for which a number near zero, or equal elements, are an edge, with the place of that operand."""

BATCH_NORMS = (
    "native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "cudnn_batch_norm",
    "miopen_batch_norm",
)  # fmt: skip
"""Operations that divide by the variance of their first operand in training mode, else by their fifth operand."""

TOGETHER = {
    *EXPONENTIALS, *DIVISORS, *BATCH_NORMS, "sum", "mean", "prod", "cumsum", "cumprod", "amax", "amin", "max", "min",
    "argmax", "argmin", "aminmax", "topk", "sort", "kthvalue", "median", "cummax", "cummin",
}  # fmt: skip
"""Operations that overflow, or that compare numbers: the largest numbers are an edge for them."""

PRODUCTS = {
    "mm": 0, "bmm": 0, "mv": 0, "dot": 0, "linear": 0, "convolution": 0, "addmm": 1, "baddbmm": 1, "addbmm": 1,
    "addmv": 1,
}  # fmt: skip
"""Sums of products, with the place of the first factor: edges of one factor are edges of the products."""

ADDED = {"linear": 2, "convolution": 2, "addmm": 0, "baddbmm": 0, "addbmm": 0, "addmv": 0}
"""Places of what is added to the sums of products."""


class Arrivals(Sources):
    """Watch of which inputs and parameters the operands are made for which an operation has an edge."""

    def __init__(self, leaves: Mapping[Source, object]) -> None:
        """Watch floating-point tensors among inputs, parameters and buffers."""
        super().__init__(leaves)
        self.near_zero: dict[frozenset[Source], None] = {}
        """Sets of which a divisor, a variance or a norm is made, in the order in which they arrive."""
        self.together: dict[frozenset[Source], None] = {}
        """Sets of which numbers are made that are brought together or become exponents."""
        self.maxima: dict[frozenset[Source], None] = {}
        """Sets of which numbers are made whose maximum an operation needs."""

    def arrived(self, name: str, args: tuple[Any, ...]) -> None:
        """Note what the operand with an edge is made of."""
        name = name.rstrip("_")
        if name in BATCH_NORMS:
            training = "no_training" not in name and bool(args[5])
            self._note(self.near_zero, args[0 if training else 4])
        elif name in DIVISORS and len(args) > DIVISORS[name] and not _is_whole_power(name, args):
            self._note(self.near_zero, args[DIVISORS[name]])
        if name in TOGETHER and args:
            self._note(self.together, args[0])
        if name in ALONG and args:
            self._note(self.maxima, args[0])

    def _note(self, where: dict[frozenset[Source], None], operand: object) -> None:
        if made_of := self.of(operand):
            where[made_of] = None

    def passed(self, func: Any, name: str, args: tuple[Any, ...], operands: frozenset[Source]) -> frozenset[Source]:
        """Follow one factor alone of sums of products, an input rather than a parameter, and all other operands."""
        name = name.rstrip("_")
        if "attention" in name and len(args) > 2:
            return self.of(args[2])
        if name not in PRODUCTS:
            return operands
        factors = [self.of(one) for one in args[PRODUCTS[name] : PRODUCTS[name] + 2]]
        inputs = [one for one in factors if any(isinstance(source, int) for source in one)]
        added = ADDED.get(name, len(args))
        return next(iter([*inputs, *filter(None, factors)]), frozenset()) | self.of(args[added : added + 1])


def _is_whole_power(name: str, args: Sequence[Any]) -> bool:
    """Return whether an operation is a square, or another power that is smooth at zero."""
    return name == "pow" and isinstance(args[1], int | float) and args[1] > 0 and float(args[1]).is_integer()


def arrivals(model: torch.nn.Module, inputs: Sequence[Any], dtype: torch.dtype, free: Iterable[int]) -> Arrivals:
    """Run a model, and see where its inputs, parameters and buffers arrive.

    Args:
        model: model of a reference, in `dtype`.
        inputs: its inputs, which stay as they are.
        dtype: type in which the model is run.
        free: places, among the leaves of the inputs, of those that are followed.
    """
    leaves, tree = tree_flatten(list(inputs))
    copies, own = [copied_in(leaf, dtype) for leaf in leaves], copy.deepcopy(model)
    followed: dict[Source, object] = {at: copies[at] for at in free}
    followed.update(state_of(own).items())
    watch = Arrivals(followed)
    with watch, suppress(ProblemError), computing_in(dtype, list(inputs)):
        call(own, tree_unflatten(copies, tree))
    return watch


def own_edges(sets: Iterable[frozenset[Source]]) -> list[frozenset[Source]]:
    """Return the sets that need edges of their own, which are no unions of others."""
    sets = list(sets)
    return _few(one for one in sets if frozenset().union(*(other for other in sets if other < one)) != one)


def one_of_each(sets: Iterable[frozenset[Source]], taken: Iterable[Source]) -> list[frozenset[Source]]:
    """Return sets of single inputs, so that one of each set is among them or among those that are taken already."""
    chosen: set[Source] = set(taken)
    made: list[frozenset[Source]] = []
    for one in sets:
        inputs = sorted(source for source in one if isinstance(source, int))
        if inputs and not chosen & one:
            chosen.add(inputs[0])
            made.append(frozenset(inputs[:1]))
    return _few(made)


def _few(sets: Iterable[frozenset[Source]]) -> list[frozenset[Source]]:
    """Return sets with the last ones, beyond `MOST_SETS`, made one."""
    first = list(sets)
    last = frozenset[Source]().union(*first[MOST_SETS - 1 :])
    return [*first[: MOST_SETS - 1], *([last] if last else [])]
