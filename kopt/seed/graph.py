"""Trace a reference into a graph of operations whose sizes are symbols, under `kopt.device.build.stub_gpu.pretend`.

A size that the workloads change becomes a symbol; every other size is a number.  `Any`: graphs and symbols are torch's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import sympy  # type: ignore[import-untyped]  # it has no types
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import TreeSpec, tree_flatten

from kopt.device.build.stub_gpu import CUDA
from kopt.device.reference.forward import call
from kopt.device.reference.given import input_names
from kopt.errors import SeedError
from kopt.model.problem import Problem, workload_title
from kopt.seed.derived_floats import derived_floats
from kopt.seed.inductor import Inductor
from kopt.seed.kept_numbers import Place
from kopt.seed.operations.complex_pairs import AsPairs, has_complex_numbers
from kopt.seed.operations.operators import Whole, table, written_attention
from kopt.seed.size_math import symbols_in_math
from kopt.seed.sizes import Leaf, Setting, Values, alike, changes, changing, set_up, values_of

DIFFERENTIATES = ("requires_grad", "autograd")
"""Words of references that differentiate."""
_NOT_OF_REFERENCE = (*map(str, (*torch.__path__, *sympy.__path__)), str(Path(__file__).parents[1]))
"""Folders of code that is no reference's."""
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
class ReferenceGraph:
    """A traced reference."""

    graph: Any
    """A graph module of torch, without mutation."""
    arguments: list[Any]
    """Fake tensors and symbols, in the order of the graph's arguments."""
    names: list[Argument]
    inputs: list[str]
    """Names of the inputs, in order."""
    fixed: dict[str, str]
    """Inputs that are no tensors, by expression, with the value (as Python writes it) for which the graph holds."""
    structure: TreeSpec
    """Structure of the output."""
    plain: list[Any]
    """Leaves of the output; `Ellipsis` for a tensor."""
    mode: FakeTensorMode
    env: Any
    check_free: Callable[[], None]
    """Raises SeedError where sizes became numbers, also while the graph was lowered."""
    size_names: dict[Values, str] = field(default_factory=dict)


def trace(problem: Problem, inductor: Inductor) -> ReferenceGraph:
    """Trace a reference for all workloads at once; the first main one gives the values by which torch decides.

    Where torch then takes a size for a number to which it is equal there by chance, as the length of all rows of a mask
    that the reference cuts to the length at hand, another workload gives the values while the reference is traced.

    Raises:
        ProblemError: the reference raises.
        SeedError: the reference has parts that no graph can hold.
    """
    try:
        return _trace(problem, inductor, decides=0)
    except _FixedSizes as error:
        for place in range(1, len(problem.workloads)):
            if all(values[place] != values[0] for values in error.sizes):
                with suppress(Exception):  # whatever torch raises there, the first reason is told
                    return _trace(problem, inductor, decides=place)
        raise


class _FixedSizes(SeedError):
    """Sizes became numbers, or other sizes."""

    def __init__(self, message: str, sizes: Sequence[Values]) -> None:
        super().__init__(message)
        self.sizes = sizes


def _trace(problem: Problem, inductor: Inductor, decides: int) -> ReferenceGraph:
    """Trace a reference; torch decides by the sizes of the workload at the place `decides`."""
    settings = alike([set_up(problem, workload) for workload, _ in problem.workloads])
    setting = settings[0]
    env = inductor.shape_env(duck_shape=False)
    mode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=env)
    constants = _constants(settings)
    symbols = _Symbols(inductor, env, constants, decides)
    leaves, sizes = setting.tensors(), values_of(settings)
    names = _parameter_names(setting, leaves)
    with mode:
        fakes = [_fake(leaf, values, symbols) for leaf, values in zip(leaves, sizes, strict=True)]
    arguments: list[Any] = list(fakes)
    argument_names = [
        Argument(
            name, leaf.path, tuple(constants.get(v, "") if changes(v) else "" for v in values), leaf.is_input
        )
        for name, leaf, values in zip(names, leaves, sizes, strict=True)
    ]  # fmt: skip
    known = {values: fake.shape[d] for fake, own in zip(fakes, sizes, strict=True) for d, values in enumerate(own)}
    numbers = _Numbers(known, symbols, arguments, argument_names)
    numbers.put(settings)
    floats = derived_floats(settings, numbers.known)
    fixed = _fixed(setting, names=input_names(setting.model, len(setting.inputs)))
    spec: list[Any] = []
    differentiates = any(word in problem.reference for word in DIFFERENTIATES)
    written = [written_attention()]
    returned: list[bool] = []
    same: list[int] = []

    def run(*values: Any) -> tuple[torch.Tensor, ...]:
        for leaf, value in zip(leaves, values, strict=False):
            leaf.store(value)
        floats.put()
        with Whole(differentiates, *written), symbols_in_math(setting.reference, problem.reference):
            out, structure = tree_flatten(call(setting.model, setting.inputs))
        returned[:] = [any(one.knows(leaf) for one in written for leaf in out)]
        same[:] = [_place(leaf, values) for leaf in out if isinstance(leaf, torch.Tensor)]
        spec[:] = [structure, [... if isinstance(leaf, torch.Tensor) else leaf for leaf in out]]
        return tuple(leaf for leaf in out if isinstance(leaf, torch.Tensor))

    graph = _traced(run, arguments, mode, inductor, differentiates)
    if any(returned):  # the template gives no weights, which would have to be computed beside it
        written.clear()
        graph = _traced(run, arguments, mode, inductor, differentiates)
    _return_arguments(graph, same)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    numbers.check(graph)
    floats.check(graph)
    titles = [workload_title(workload.name, kind) for workload, kind in problem.workloads]
    symbols.check_free(titles)
    check_again = partial(symbols.check_free, titles, traced=False)
    symbols.decide_by_first()
    return ReferenceGraph(
        graph, arguments, argument_names, input_names(setting.model, len(setting.inputs)), fixed, spec[0], spec[1],
        mode, env, check_again, constants,
    )  # fmt: skip


def _traced(run: Any, arguments: Sequence[Any], mode: FakeTensorMode, inductor: Inductor, differentiates: bool) -> Any:
    """Return the graph without changes of tensors in place.

    torch differentiates neither inside `functionalize` nor on a device that is not there: a reference that does so is
    traced on tensors of the CPU first, and on the device after that.
    """
    from torch.func import functionalize
    from torch.fx.experimental.proxy_tensor import make_fx

    with mode, torch.no_grad(), inductor.node_meta():
        if differentiates:
            first = make_fx(run, tracing_mode="symbolic")(*map(_on_cpu, arguments))
            _move_to_device(first)
            interpreter = torch.fx.Interpreter(first)
            interpreter.extra_traceback = False  # would write the whole node into an error
            run = interpreter.run
        functional = functionalize(run, remove="mutations")
        known = table(inductor.decompositions())
        graph = make_fx(functional, known, tracing_mode="symbolic")(*arguments)
        if has_complex_numbers(graph):
            graph = make_fx(AsPairs(graph).run, known, tracing_mode="symbolic")(*arguments)
        return graph


def _place(tensor: torch.Tensor, arguments: Sequence[Any]) -> int:
    """Return the place of the argument that a tensor is; -1 where it is none."""
    return next((place for place, argument in enumerate(arguments) if argument is tensor), -1)


def _return_arguments(graph: Any, same: Sequence[int]) -> None:
    """Have a graph return a changed argument itself where the reference does, and not the value that it writes there.

    Args:
        graph: the graph, which writes into its arguments at its end.
        same: for each output the place of the argument that it is; -1 for any other tensor.
    """
    arguments = [node for node in graph.graph.nodes if node.op == "placeholder"]
    written = {node.args[0]: node for node in graph.graph.nodes if node.target is torch.ops.aten.copy_.default}
    (end,) = (node for node in graph.graph.nodes if node.op == "output")
    (values,) = end.args
    end.args = (
        tuple(
            written.get(arguments[place], value) if place >= 0 else value
            for place, value in zip(same, values, strict=True)
        ),
    )


def _on_cpu(value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    return torch.empty_strided(value.size(), value.stride(), dtype=value.dtype, device="cpu")


def _move_to_device(module: Any) -> None:
    """Have a graph that was traced on tensors of the CPU make its tensors on the device."""
    for node in module.graph.nodes:
        if isinstance(node.kwargs.get("device"), torch.device):
            node.kwargs = {**node.kwargs, "device": CUDA}


class _Symbols:
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
            raise _FixedSizes(_fixed_sizes(lost, workloads), list(lost.values()))

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


def _constants(settings: Sequence[Setting]) -> dict[Values, str]:
    """Name a size after the one constant of the reference that has the same values in all workloads."""
    names: dict[Values, list[str]] = {}
    for key, value in vars(settings[0].reference).items():
        if type(value) is int and not key.startswith("_"):
            values = tuple(vars(setting.reference).get(key, 0) for setting in settings)
            if changes(values):
                names.setdefault(values, []).append(key.lower())
    return {values: found[0] for values, found in names.items() if len(found) == 1}


def _fake(leaf: Leaf, values: Sequence[Values], symbols: _Symbols) -> torch.Tensor:
    """Return a fake tensor on the device whose sizes are symbols.

    Its strides are in the order of the tensor's, which has to be dense but for dimensions that are expanded.
    """
    tensor = leaf.value
    place = f"{leaf.name}{leaf.path}".replace("input ", "x")
    shape = [
        symbols.size(own, f"{_word(place)}_size{dimension}", multiple=not leaf.is_input)
        for dimension, own in enumerate(values)
    ]
    order = sorted(range(tensor.dim()), key=lambda d: (-tensor.stride(d), d))
    expanded = {d for d in order if tensor.shape[d] > 1 and tensor.stride(d) == 0}
    lying = [d for d in order if d not in expanded]
    dense = torch.empty([tensor.shape[d] for d in lying], device="meta").stride()
    if any(tensor.shape[d] > 1 and tensor.stride(d) != own for d, own in zip(lying, dense, strict=True)):
        raise SeedError(
            f"{leaf.name} is no dense tensor, its strides are {tuple(tensor.stride())}: make it with .contiguous()"
        )
    made = torch.empty([1 if d in expanded else shape[d] for d in order], dtype=tensor.dtype, device=CUDA)
    made = made.permute([order.index(d) for d in range(tensor.dim())]) if order != sorted(order) else made
    return made.expand(shape) if expanded else made


def _word(text: str) -> str:
    return "".join(char if char.isalnum() else "_" for char in text).strip("_")


def _parameter_names(setting: Setting, leaves: Sequence[Leaf]) -> list[str]:
    inputs = input_names(setting.model, len(setting.inputs))
    names = [inputs[int(leaf.name.split()[1])] if leaf.is_input else leaf.name for leaf in leaves]
    return [_word(name) if not leaf.is_input else name for name, leaf in zip(names, leaves, strict=True)]


@dataclass
class _Numbers:
    """Whole numbers that the reference keeps and the workloads change."""

    known: dict[Values, Any]
    """Sizes, by values."""
    symbols: _Symbols
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
        name = _word(number.name)
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


def _fixed(setting: Setting, names: Sequence[str]) -> dict[str, str]:
    """List the inputs that are numbers or texts; the graph holds for their values alone."""
    return {
        f"{names[int(leaf.name.split()[1])]}{leaf.path}": repr(leaf.value)
        for leaf in setting.input_leaves()
        if not isinstance(leaf.value, torch.Tensor) and leaf.value is not None
    }
