"""Draw the inputs of a verdict: of several kinds, within the structure of what `get_inputs` makes.

Every verdict holds every kind of draw (`kopt.device.draws.kinds`), whatever its seed, and the problem's own inputs
as `get_inputs` makes them (`given`).  A kind that leaves the reference's domain, so that it raises or gives NaN, is
replaced by a milder form of it, at last by `given`.  All draws follow from one seed; tensors are made on torch's
default device.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from kopt.device.draws.growth import Growth
from kopt.device.draws.kinds import KINDS, Wanted, drawn
from kopt.device.draws.mixing import dimensions_together
from kopt.device.draws.structure import KEPT, Structure, structure_seen
from kopt.device.reference import setup
from kopt.device.reference.anywhere import computing_in, copied_in
from kopt.device.reference.contract import input_names
from kopt.device.reference.forward import call
from kopt.device.reference.tree import taken_apart, tensors_of
from kopt.errors import ProblemError
from kopt.model.problem import Problem, Workload

GIVEN = "given"
"""The inputs as `get_inputs` makes them, with the model's own parameters."""

DISTRIBUTIONS = (GIVEN, *KINDS)
"""Names of all kinds of draw."""

TIMED = "normal"
"""Kind of the inputs on which kernels are timed."""

EXTREME = "extreme"
"""Kind of the largest and smallest numbers."""

FULL_SIZE = (GIVEN, "integer", "range")
"""Kinds that are drawn at full size, where a set of inputs may fill gigabytes; other workloads hold the rest."""

SEEDS = 3
"""Calls of `get_inputs` in which structure is looked for."""

SEEN_WORKLOADS = 2
"""Small workloads on which structure is looked for."""

LARGEST_EPSILON = 1e-3
"""Constants of a reference up to this one count as an eps."""

MASKS = ("masked_fill", "-inf", "finfo", "is_causal", "attn_mask", "tril", "triu")
"""Words of references that mask scores."""


@dataclass(frozen=True)
class Draw:
    """The workload, kind and seed of one set of inputs."""

    workload: Workload
    distribution: str
    """Name in `DISTRIBUTIONS`."""
    seed: int


@dataclass(frozen=True)
class Case:
    """The inputs of a draw, with the reference that goes with them."""

    reference: ModuleType
    """Executed `problem.py` with the workload's constants."""
    model: torch.nn.Module
    """The reference's model, with drawn parameters."""
    inputs: tuple[Any, ...]
    """Values of `get_inputs` (`Any`: the problem may choose any type), with drawn tensors."""


@dataclass(frozen=True)
class _Form:
    """The form in which a kind of draw stays inside the domain of one problem's reference."""

    level: int = 0
    """Mildness: 0 for the kind itself, 1 for a milder form, 2 for the mildest form of `extreme`."""
    signed: bool = False
    """Whether both signs are drawn though `get_inputs` gives values from 0 to 1."""


def derive_seed(*parts: object) -> int:
    """Return a seed below 2^63 that follows from the parts, e.g. the run's seed, the kernel's digest and a position."""
    text = "\x00".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def plan(workloads: Sequence[Workload], *seed: object, full_size: Sequence[Workload] = ()) -> tuple[Draw, ...]:
    """Plan the draws of one verdict, so that every kind is drawn, and `given` and `normal` on every workload.

    Args:
        workloads: workloads that share all kinds of draw among them.
        seed: parts from which the draws' seeds follow; nothing else follows from them.
        full_size: workloads with `FULL_SIZE` draws only, which come first.
    """
    count = len(full_size)
    chosen = [(workload, kind) for at, workload in enumerate(full_size) for kind in _full_size_kinds(at, count)]
    chosen += [(workload, GIVEN) for workload in workloads]
    others = [kind for kind in DISTRIBUTIONS if kind not in (GIVEN, "normal")]
    chosen += [(workload, "normal") for workload in workloads]
    chosen += [(workloads[at % len(workloads)], kind) for at, kind in enumerate(others)] if workloads else []
    return tuple(Draw(workload, kind, derive_seed(*seed, at)) for at, (workload, kind) in enumerate(chosen))


def _full_size_kinds(at: int, count: int) -> Iterable[str]:
    given, *others = FULL_SIZE
    return FULL_SIZE if count == 1 else (given, others[at % len(others)])


def make_case(problem: Problem, draw: Draw) -> Case:
    """Make the model and the inputs of a draw in the problem's dtype.

    Parameters that the model sets to a constant (weights of ones, biases of zeros) are drawn too, so that a kernel that
    leaves them out gives a wrong output.

    Raises:
        ProblemError: the reference cannot be set up.
    """
    domain = None if draw.distribution == GIVEN else _domain(problem)
    form = domain.form(draw.distribution) if domain is not None else None  # before anything is drawn from the seed
    reference = setup.load_reference(problem, draw.workload)
    model = setup.make_model(reference, problem, seed=draw.seed)
    seed = derive_seed(draw.seed, "inputs")
    if domain is None:
        return Case(reference, model, setup.make_inputs(reference, problem, seed=seed))
    _draw_parameters(model)
    inputs = setup.make_inputs(reference, problem, seed=seed)
    if form is not None:
        inputs = domain.drawn(model, inputs, draw.distribution, form)
    return Case(reference, model, inputs)


def find_domain(problem: Problem) -> None:
    """Look for the structure of a problem's inputs and its domain now, so that forked processes need not."""
    domain = _domain(problem)
    for kind in KINDS:
        domain.form(kind)


def structures(problem: Problem) -> dict[str, Structure]:
    """Return the structure that draws keep of each tensor among the inputs, by name (`x`, `x[1]`)."""
    return _domain(problem).by_name()


def kinds_outside(problem: Problem) -> tuple[str, ...]:
    """Return the kinds of draw that leave the reference's domain in every form, and are replaced by `given`."""
    domain = _domain(problem)
    return tuple(kind for kind in KINDS if domain.form(kind) is None)


_Dimension = tuple[int | str, int]
"""Place of a tensor among the leaves of the inputs, or a parameter's name, and a dimension."""


class _Domain:
    """The structure of a problem's inputs, and the form in which each kind stays inside the reference's domain."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._wide = torch.promote_types(setup.torch_dtype(problem), torch.float32)
        self._epsilons = _constants(problem.reference)
        self._samples = [self._sample(workload) for workload in problem.small[:SEEN_WORKLOADS]]
        self._structures = self._seen()
        self._forms: dict[str, _Form | None] = {}
        self._indexed: dict[int, set[_Dimension]] = {}
        self._along: dict[int, tuple[int, ...]] = {}
        self._tried: tuple[torch.nn.Module, tuple[Any, ...], list[torch.Tensor]] | None = None

    def by_name(self) -> dict[str, Structure]:
        """Return the structure of each tensor among the inputs, by the name of its input."""
        reference = setup.load_reference(self._problem, self._problem.small[0])
        first = self._samples[0][0]
        names = input_names(setup.make_model(reference, self._problem), len(first))
        owners = [own for n, value in zip(names, first, strict=True) for own in taken_apart(value, n).tensors]
        places = [at for at, value in enumerate(tree_leaves(list(first))) if isinstance(value, torch.Tensor)]
        return {own: self._structure(at) for own, at in zip(owners, places, strict=False)}

    def form(self, kind: str) -> _Form | None:
        """Return the form in which a kind is drawn; None where no form of it stays inside the domain."""
        if kind not in self._forms:
            candidates = (form for form in self._candidates(kind) if self._stays_inside(kind, form))
            self._forms[kind] = next(candidates, None)
        return self._forms[kind]

    def drawn(self, model: torch.nn.Module, inputs: tuple[Any, ...], kind: str, form: _Form) -> tuple[Any, ...]:
        """Return inputs of a kind in place of given ones."""
        leaves, tree = tree_flatten(list(inputs))
        free = [at for at, value in enumerate(leaves) if self._is_free(at, value)]
        epsilons = (*self._epsilons, *_attributes(model))
        for at, value in enumerate(leaves):
            if isinstance(value, torch.Tensor):
                first = at == min(free, default=-1)
                wanted = Wanted(self._structure(at), first, form.level, form.signed, epsilons, value.dtype)
                wanted = replace(wanted, masked=any(word in self._problem.reference for word in MASKS))
                if self._structure(at).repeats:
                    wanted = replace(wanted, below=self._size_indexed(at, model, inputs))
                if first and value.dim() > 1:
                    wanted = replace(wanted, along=self._brought_together(at))
                leaves[at] = drawn(value, kind, wanted)
        return tuple(tree_unflatten(leaves, tree))

    def _brought_together(self, at: int) -> tuple[int, ...]:
        """Return the dimensions of a tensor whose elements the reference brings together; none where all are."""
        if at not in self._along:
            model, inputs, given = self._known()
            leaves, tree = tree_flatten(list(inputs))

            def outputs(changed: torch.Tensor) -> list[torch.Tensor]:
                return _outputs(
                    model, tuple(tree_unflatten([*leaves[:at], changed, *leaves[at + 1 :]], tree)), self._wide
                )

            self._along[at] = dimensions_together(leaves[at], given, outputs)
        return self._along[at]

    def _size_indexed(self, at: int, model: torch.nn.Module, inputs: tuple[Any, ...]) -> int | None:
        """Return the size of the dimension that an input of integers indexes; None where it is not known."""
        if at not in self._indexed:
            with torch.device("cpu"):  # a GPU does not survive an index that is too large
                found = [self._dimensions_indexed(at, workload) for workload in self._problem.small]
            self._indexed[at] = set.intersection(*found)
        sizes = _sizes(model, inputs)
        return min((sizes[place] for place in self._indexed[at]), default=None)

    def _dimensions_indexed(self, at: int, workload: Workload) -> set[_Dimension]:
        """Return the dimensions whose last index the reference takes and whose size it refuses as an index."""
        model, inputs, _ = self._model_and_inputs(workload)
        leaves, tree = tree_flatten(list(inputs))
        most = int(leaves[at].max())

        def takes(index: int) -> bool:
            changed = leaves[at].clone(memory_format=torch.contiguous_format)
            changed.view(-1)[0] = index
            return bool(_outputs(model, tree_unflatten([*leaves[:at], changed, *leaves[at + 1 :]], tree), self._wide))

        sizes = _sizes(model, inputs)
        larger = sorted({size for size in sizes.values() if most < size <= torch.iinfo(leaves[at].dtype).max})
        last = next((size for size in larger if not takes(size)), None)
        if last is None or not takes(last - 1):
            return set()
        return {place for place, size in sizes.items() if size == last}

    def _structure(self, at: int) -> Structure:
        return self._structures.get(at, KEPT)

    def _is_free(self, at: int, value: object) -> bool:
        structure = self._structure(at)
        floating = isinstance(value, torch.Tensor) and value.is_floating_point()
        return floating and not structure.kept and not structure.constant

    def _sample(self, workload: Workload) -> list[tuple[Any, ...]]:
        reference = setup.load_reference(self._problem, workload)
        return [
            setup.make_inputs(reference, self._problem, seed=derive_seed("structure", turn)) for turn in range(SEEDS)
        ]

    def _seen(self) -> dict[int, Structure]:
        """Return the structure of each tensor among the leaves of the inputs."""
        reference = setup.load_reference(self._problem, self._problem.small[0])
        calls = [[tree_leaves(list(inputs)) for inputs in calls] for calls in self._samples]
        first = self._samples[0][0]
        names = input_names(setup.make_model(reference, self._problem), len(first))
        owners = [name for name, value in zip(names, first, strict=True) for _ in tree_leaves(value)]
        structures = {}
        for at, name in enumerate(owners):
            samples = [[leaves[at] for leaves in turns if at < len(leaves)] for turns in calls]
            if all(isinstance(value, torch.Tensor) for values in samples for value in values):
                structures[at] = structure_seen(samples, self._problem.inputs.get(name))
        return structures

    def _candidates(self, kind: str) -> list[_Form]:
        forms = [_Form(), _Form(level=1), *([_Form(level=2)] if kind == EXTREME else [])]
        if any(structure.uniform for structure in self._structures.values()):
            forms = [_Form(signed=True), _Form(level=1, signed=True), *forms]
        return forms

    def _stays_inside(self, kind: str, form: _Form) -> bool:
        """Return whether the reference gives numbers for a kind where it does so for the given inputs."""
        model, inputs, given = self._known()
        torch.manual_seed(derive_seed("domain", kind))
        growth = Growth()
        with growth if kind == EXTREME else nullcontext():
            values = _outputs(model, self.drawn(model, inputs, kind, form), self._wide)
        if not given:
            return True
        if growth.outgrown:
            return False
        return bool(values) and all(_numbers(a, b) for a, b in zip(values, given, strict=False))

    def _known(self) -> tuple[torch.nn.Module, tuple[Any, ...], list[torch.Tensor]]:
        if self._tried is None:
            self._tried = self._model_and_inputs(self._problem.small[-1])
        return self._tried

    def _model_and_inputs(self, workload: Workload) -> tuple[torch.nn.Module, tuple[Any, ...], list[torch.Tensor]]:
        """Return the model in at least float32 for a workload, given inputs, and its outputs for these."""
        reference = setup.load_reference(self._problem, workload)
        model = setup.make_model(reference, self._problem, seed=derive_seed("domain"))
        inputs = setup.make_inputs(reference, self._problem, seed=derive_seed("domain", GIVEN))
        wide = model.to(self._wide)
        return wide, inputs, _outputs(wide, inputs, self._wide)


def inputs_key(problem: Problem, workloads: Sequence[Workload], device: torch.device) -> tuple[object, ...]:
    """Return a key that differs wherever the reference, or the draws of its inputs for the workloads, may differ."""
    rules = tuple(sorted((name, rule.model_dump_json()) for name, rule in problem.inputs.items()))
    sizes = tuple(workload.model_dump_json() for workload in workloads)
    return problem.name, problem.reference, problem.dtype, rules, sizes, str(device)


_DOMAINS: dict[tuple[object, ...], _Domain] = {}


def _domain(problem: Problem) -> _Domain:
    """Return the domain of a problem, which is looked for once in a process."""
    key = inputs_key(problem, problem.small, torch.get_default_device())
    if key not in _DOMAINS:
        _DOMAINS[key] = _Domain(problem)
    return _DOMAINS[key]


def _outputs(model: torch.nn.Module, inputs: tuple[Any, ...], dtype: torch.dtype) -> list[torch.Tensor]:
    """Return a model's outputs on inputs of a dtype; none where it raises, as it may outside its domain."""
    try:
        with computing_in(dtype):
            output = call(model, tree_map(lambda value: copied_in(value, dtype), list(inputs)))
    except ProblemError:
        return []
    return [copied_in(leaf, dtype) if leaf.is_floating_point() else leaf for leaf in tensors_of(output)]


def _numbers(values: torch.Tensor, given: torch.Tensor) -> bool:
    """Return whether an output has no NaN that the given one lacks, and is not mostly infinite."""
    if not values.is_floating_point():
        return True
    values, given = values.double(), given.double()  # torch lacks operations of the 8-bit types on some devices
    if bool(values.isnan().any()) and not bool(given.isnan().any()):
        return False
    return float(values.isfinite().double().mean()) >= 0.5 * float(given.isfinite().double().mean())


def _sizes(model: torch.nn.Module, inputs: Sequence[Any]) -> dict[_Dimension, int]:
    """Return the size of each dimension of the inputs and parameters."""
    named: list[tuple[int | str, Any]] = [*enumerate(tree_leaves(list(inputs))), *model.named_parameters()]
    return {
        (name, dimension): size
        for name, value in named
        if isinstance(value, torch.Tensor)
        for dimension, size in enumerate(value.shape)
    }


def _constants(source: str) -> tuple[float, ...]:
    """Return the small positive numbers in a reference's text, the largest first."""
    numbers = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)}
    small = {number for number in numbers if isinstance(number, float) and 0 < number <= LARGEST_EPSILON}
    return tuple(sorted(small, reverse=True))


def _attributes(model: torch.nn.Module) -> tuple[float, ...]:
    """Return the eps of a model's modules."""
    named: Iterable[Mapping[str, object]] = (vars(module) for module in model.modules())
    found = {values["eps"] for values in named if isinstance(values.get("eps"), float)}
    return tuple(sorted(float(str(epsilon)) for epsilon in found))


def _draw_parameters(model: torch.nn.Module) -> None:
    for parameter in model.parameters():
        if parameter.is_floating_point() and _is_constant(parameter):
            parameter.add_(torch.randn_like(parameter), alpha=0.5)
    for buffer in model.buffers():
        if buffer.is_floating_point() and _is_constant(buffer):
            buffer.add_(torch.rand_like(buffer), alpha=0.5)


def _is_constant(values: torch.Tensor) -> bool:
    return values.numel() > 0 and bool((values == values.flatten()[0]).all())
