"""Compute with complex numbers as with pairs of real ones, in a traced graph: no Triton has complex numbers.

A complex tensor inside of a reference, as of rotary embeddings (`view_as_complex`, `polar`, a product, `view_as_real`),
becomes the two real tensors of its parts.  Rules are those of arithmetic; operations that move or choose elements do so
to both parts.  `Any`: operations take and return anything.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch.utils._pytree import tree_any, tree_map

from kopt.errors import SeedError

aten = torch.ops.aten


class Pair(NamedTuple):
    """A complex tensor, or a complex number."""

    real: Any
    imaginary: Any


def has_complex_numbers(graph: Any) -> bool:
    """Return whether an operation of a graph gives complex numbers."""
    values = (node.meta.get("val") for node in graph.graph.nodes)
    return any(isinstance(value, torch.Tensor) and value.is_complex() for value in values)


class AsPairs(torch.fx.Interpreter):
    """Run a graph whose inputs and outputs are real, with pairs in place of complex tensors."""

    def __init__(self, module: Any) -> None:
        super().__init__(module)
        self.extra_traceback = False  # would write the whole node into an error

    def run_node(self, n: Any) -> Any:
        """Run one operation.

        Raises:
            SeedError: there is no rule for the operation on complex numbers, or an input or output is complex.
        """
        made = self._run_node(n)
        if tree_any(_is_complex if n.op != "output" else _is_pair, made, is_leaf=_is_pair):
            raise _without_rule(n.target) if n.op == "call_function" else SeedError(_COMPLEX[n.op])
        return _whole(made) if isinstance(made, Pair) else made

    def _run_node(self, n: Any) -> Any:
        if n.op != "call_function":
            return super().run_node(n)
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        packet = getattr(n.target, "overloadpacket", n.target)
        if packet is aten._to_copy:
            return _converted(args[0], **kwargs)
        if packet in _FILLED and _is_complex(n.meta.get("val")):
            number = next((one for one in args if isinstance(one, complex)), 0j)
            args = tuple(one.real if isinstance(one, complex) else one for one in args)
            real = n.target(*args, **kwargs | {"dtype": _REAL[n.meta["val"].dtype]})
            return Pair(real, torch.full_like(real, number.imag))
        if packet in _MAKERS:
            return _MAKERS[packet](*args, **kwargs)
        if not tree_any(_is_pair_or_number, (args, kwargs), is_leaf=_is_pair):
            return super().run_node(n)
        if packet in _RULES:
            return _RULES[packet](*tree_map(_pair, args, is_leaf=_is_pair), **kwargs)
        if packet in _JOINS:
            args = ([_filled(one) for one in args[0]], *args[1:])
        elif packet not in _ON_BOTH:
            raise _without_rule(n.target)
        kwargs = {name: _REAL.get(value, value) if name == "dtype" else value for name, value in kwargs.items()}
        real, imaginary = (n.target(*tree_map(partial(_part, at), args, is_leaf=_is_pair), **kwargs) for at in range(2))
        if isinstance(real, torch.Tensor):
            return Pair(real, imaginary)
        return [Pair(*parts) for parts in zip(real, imaginary, strict=True)]


def _without_rule(operation: Any) -> SeedError:
    name = f"{operation}".removesuffix(".default")
    return SeedError(f"TorchInductor has no Triton for {name} of complex numbers, and kopt no rule")


def _is_pair(value: Any) -> bool:
    return isinstance(value, Pair)


def _is_complex(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_complex()


def _is_pair_or_number(value: Any) -> bool:
    return isinstance(value, Pair | complex)


def _pair(value: Any) -> Any:
    return Pair(value.real, value.imag) if isinstance(value, complex) else value


def _part(at: int, value: Any) -> Any:
    return value[at] if isinstance(value, Pair) else value


def _whole(pair: Pair) -> Pair:
    """Return a pair both parts of which are tensors of one shape."""
    size = next(part for part in pair if isinstance(part, torch.Tensor))
    real, imaginary = (part if isinstance(part, torch.Tensor) else torch.full_like(size, part) for part in pair)
    if real.shape != imaginary.shape:
        real, imaginary = torch.broadcast_tensors(real, imaginary)
    return Pair(real, imaginary)


def _filled(value: Any) -> Pair:
    """Return a real tensor as a complex one."""
    return value if isinstance(value, Pair) else Pair(value, torch.zeros_like(value))


def _converted(value: Any, dtype: torch.dtype | None = None, **options: Any) -> Any:
    """Convert a tensor to another type, by `_to_copy`; a real type takes the real part of a complex tensor."""
    stays = dtype is None or dtype in _REAL
    own = _REAL.get(dtype, dtype) if dtype is not None else None
    if isinstance(value, Pair) and stays:
        return Pair(*(aten._to_copy(part, dtype=own, **options) for part in value))
    made = aten._to_copy(value.real if isinstance(value, Pair) else value, dtype=own, **options)
    return _filled(made) if dtype in _REAL else made


def _parts(value: Any) -> Pair:
    """Return the parts of a complex or a real value."""
    return value if isinstance(value, Pair) else Pair(value, 0.0)


def _is_zero(value: Any) -> bool:
    return isinstance(value, float) and value == 0.0


def _sum(one: Any, other: Any, sign: int = 1) -> Any:
    """Add or subtract two parts, of which one may be missing."""
    if _is_zero(other):
        return one
    if _is_zero(one):
        return other if sign > 0 else -other
    return one + other if sign > 0 else one - other


def _product(one: Any, other: Any) -> Any:
    return 0.0 if _is_zero(one) or _is_zero(other) else one * other


def _add(one: Any, other: Any, sign: int = 1, *, alpha: Any = 1) -> Pair:
    left, right = _parts(one), _parts(other if alpha == 1 else _multiply(other, alpha))
    return Pair(_sum(left.real, right.real, sign), _sum(left.imaginary, right.imaginary, sign))


def _multiply(one: Any, other: Any) -> Pair:
    a, b = _parts(one), _parts(other)
    real = _sum(_product(a.real, b.real), _product(a.imaginary, b.imaginary), -1)
    return Pair(real, _sum(_product(a.real, b.imaginary), _product(a.imaginary, b.real)))


def _divide(one: Any, other: Any) -> Pair:
    if not isinstance(other, Pair):
        return Pair(one.real / other, one.imaginary / other)
    size = other.real * other.real + other.imaginary * other.imaginary
    made = _multiply(one, Pair(other.real, -other.imaginary))
    return Pair(made.real / size, made.imaginary / size)


def _chosen(where: Any, one: Any, other: Any) -> Pair:
    parts = zip(_parts(one), _parts(other), strict=True)
    return Pair(*(torch.where(where, left, right) for left, right in parts))


def _exponential(value: Pair) -> Pair:
    size = torch.exp(value.real)
    return Pair(size * torch.cos(value.imaginary), size * torch.sin(value.imaginary))


def _square_of_size(value: Pair) -> Any:
    return value.real * value.real + value.imaginary * value.imaginary


def _power(value: Pair, exponent: Any) -> Pair:
    if exponent != 2:
        raise SeedError(f"TorchInductor has no Triton for complex numbers to the power of {exponent}, and kopt no rule")
    return _multiply(value, value)


def _matrix_product(function: Callable[..., Any]) -> Callable[..., Pair]:
    def product(one: Any, other: Any) -> Pair:
        a, b = _parts(one), _parts(other)
        if not isinstance(one, Pair):
            return Pair(function(one, b.real), function(one, b.imaginary))
        if not isinstance(other, Pair):
            return Pair(function(a.real, other), function(a.imaginary, other))
        real = function(a.real, b.real) - function(a.imaginary, b.imaginary)
        return Pair(real, function(a.real, b.imaginary) + function(a.imaginary, b.real))

    return product


_COMPLEX = {
    "placeholder": "an input, parameter or buffer is complex: give torch.view_as_real of it, and take "
    "torch.view_as_complex of that inside",
    "get_attr": "a constant is complex: make it inside, by torch.polar or torch.complex",
    "output": "an output is complex: return torch.view_as_real of it",
}
"""Messages on a complex tensor where a graph needs a real one, by the kind of the node that holds it."""

_REAL = {torch.complex32: torch.float16, torch.complex64: torch.float32, torch.complex128: torch.float64}
"""Types of the parts of complex numbers."""

_FILLED = {aten.scalar_tensor, aten.full, aten.zeros, aten.ones, aten.empty}
"""Operations that make a tensor of one number."""

_MAKERS: dict[Any, Callable[..., Any]] = {
    aten.view_as_complex: lambda value: Pair(value[..., 0], value[..., 1]),
    aten.complex: Pair,
    aten.polar: lambda size, angle: Pair(size * torch.cos(angle), size * torch.sin(angle)),
}
"""Operations that make complex tensors of real ones."""

_RULES: dict[Any, Callable[..., Any]] = {
    aten.view_as_real: lambda value: torch.stack(value, -1),
    aten.sym_size: lambda value, dimension: value.real.shape[dimension],
    aten.real: operator.attrgetter("real"),
    aten.imag: operator.attrgetter("imaginary"),
    aten.mul: _multiply,
    aten.add: _add,
    aten.sub: lambda one, other, alpha=1: _add(one, other, -1, alpha=alpha),
    aten.rsub: lambda one, other: _add(other, one, -1),
    aten.div: _divide,
    aten.reciprocal: lambda value: _divide(1.0, value),
    aten.where: _chosen,
    aten.neg: lambda value: Pair(-value.real, -value.imaginary),
    aten.conj: lambda value: Pair(value.real, -value.imaginary),
    aten._conj: lambda value: Pair(value.real, -value.imaginary),
    aten.conj_physical: lambda value: Pair(value.real, -value.imaginary),
    aten._conj_physical: lambda value: Pair(value.real, -value.imaginary),
    aten.resolve_conj: lambda value: value,
    aten.abs: lambda value: torch.sqrt(_square_of_size(value)),
    aten.angle: lambda value: torch.atan2(value.imaginary, value.real),
    aten.exp: _exponential,
    aten.pow: _power,
    aten.mm: _matrix_product(torch.mm),
    aten.bmm: _matrix_product(torch.bmm),
}
"""Arithmetic on pairs, by operation; an argument that is no pair is a real number or tensor."""

_JOINS = {aten.cat, aten.stack}
"""Operations that join a list of tensors."""

_ON_BOTH = {
    aten.view, aten._unsafe_view, aten.reshape, aten.permute, aten.transpose, aten.t, aten.unsqueeze, aten.squeeze,
    aten.expand, aten.select, aten.slice, aten.split, aten.split_with_sizes, aten.unbind, aten.narrow,
    aten.clone, aten.alias, aten.detach, aten.index, aten.index_select, aten.gather, aten.flip, aten.roll, aten.repeat,
    aten.sum, aten.mean, aten.cumsum, operator.getitem,
}  # fmt: skip
"""Operations that do the same to both parts."""
