"""Trace a reference into a graph of operations whose sizes are symbols, under `kopt.device.build.stub_gpu.pretend`.

A size that the workloads change becomes a symbol; every other size is a number.  `Any`: graphs and symbols are torch's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

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
from kopt.seed.operations.complex_pairs import AsPairs, has_complex_numbers
from kopt.seed.operations.functions import Whole, written_attention
from kopt.seed.operations.operators import table
from kopt.seed.size_math import symbols_in_math
from kopt.seed.sizes import Leaf, Setting, Values, alike, changes, set_up, values_of
from kopt.seed.symbols import FixedSizes, Symbols
from kopt.seed.whole_numbers import Argument, WholeNumbers, word

DIFFERENTIATES = ("requires_grad", "autograd")
"""Words of references that differentiate."""


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
    except FixedSizes as error:
        for place in range(1, len(problem.workloads)):
            if all(values[place] != values[0] for values in error.sizes):
                with suppress(Exception):  # whatever torch raises there, the first reason is told
                    return _trace(problem, inductor, decides=place)
        raise


def _trace(problem: Problem, inductor: Inductor, decides: int) -> ReferenceGraph:
    """Trace a reference; torch decides by the sizes of the workload at the place `decides`."""
    settings = alike([set_up(problem, workload) for workload, _ in problem.workloads])
    setting = settings[0]
    env = inductor.shape_env(duck_shape=False)
    mode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=env)
    constants = _constants(settings)
    symbols = Symbols(inductor, env, constants, decides)
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
    numbers = WholeNumbers(known, symbols, arguments, argument_names)
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
    """Return at which place among the arguments a tensor stands; -1 for a tensor that is no argument."""
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


def _constants(settings: Sequence[Setting]) -> dict[Values, str]:
    """Name a size after the one constant of the reference that has the same values in all workloads."""
    names: dict[Values, list[str]] = {}
    for key, value in vars(settings[0].reference).items():
        if type(value) is int and not key.startswith("_"):
            values = tuple(vars(setting.reference).get(key, 0) for setting in settings)
            if changes(values):
                names.setdefault(values, []).append(key.lower())
    return {values: found[0] for values, found in names.items() if len(found) == 1}


def _fake(leaf: Leaf, values: Sequence[Values], symbols: Symbols) -> torch.Tensor:
    """Return a fake tensor on the device whose sizes are symbols.

    Its strides are in the order of the tensor's, which has to be dense but for dimensions that are expanded.
    """
    tensor = leaf.value
    place = f"{leaf.name}{leaf.path}".replace("input ", "x")
    shape = [
        symbols.size(own, f"{word(place)}_size{dimension}", multiple=not leaf.is_input)
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


def _parameter_names(setting: Setting, leaves: Sequence[Leaf]) -> list[str]:
    inputs = input_names(setting.model, len(setting.inputs))
    names = [inputs[int(leaf.name.split()[1])] if leaf.is_input else leaf.name for leaf in leaves]
    return [word(name) if not leaf.is_input else name for name, leaf in zip(names, leaves, strict=True)]


def _fixed(setting: Setting, names: Sequence[str]) -> dict[str, str]:
    """List the inputs that are numbers or texts; the graph holds for their values alone."""
    return {
        f"{names[int(leaf.name.split()[1])]}{leaf.path}": repr(leaf.value)
        for leaf in setting.input_leaves()
        if not isinstance(leaf.value, torch.Tensor) and leaf.value is not None
    }
