"""Find the form in which each kind of draw stays inside the domain of a problem's reference.

A kind that leaves the domain, so that the reference raises or gives NaN, is replaced by a milder form of it, at last by
the inputs that `get_inputs` makes.  Tensors are made on torch's default device.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from kopt.device.draws.edges import Arrivals, arrivals
from kopt.device.draws.form import Form
from kopt.device.draws.growth import Growth
from kopt.device.draws.kinds import GIVEN, LEVELS, Wanted, drawn
from kopt.device.draws.mixing import dimensions_together
from kopt.device.draws.model import (
    Dimension,
    are_numbers,
    epsilons_of,
    make_weights_positive,
    outputs_in,
    sizes_of,
    small_constants,
    state_of,
)
from kopt.device.draws.not_finite import SPECIAL, leaves_asked
from kopt.device.draws.seeds import derive_seed
from kopt.device.draws.sources import Source
from kopt.device.draws.structure import FREE, KEPT, Structure, structure_seen
from kopt.device.reference import setup
from kopt.device.reference.given import input_names
from kopt.device.reference.seeding import seed_random
from kopt.device.reference.tree import taken_apart
from kopt.model.problem import Problem, Workload

EXTREME = "extreme"
"""Kind of the largest and smallest numbers."""

SEEDS = 3
"""Calls of `get_inputs` in which structure is looked for."""

SEEN_WORKLOADS = 2
"""Small workloads on which structure is looked for."""

MASKS = ("masked_fill", "-inf", "finfo", "is_causal", "attn_mask", "tril", "triu")
"""Words of references that mask scores."""


class Domain:
    """The structure of a problem's inputs, and the form in which each kind stays inside the reference's domain."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._wide = torch.promote_types(setup.torch_dtype(problem), torch.float32)
        self._epsilons = small_constants(problem.reference)
        self._samples = [self._sample(workload) for workload in problem.small[:SEEN_WORKLOADS]]
        self._ruled: set[int] = set()
        self._structures = self._seen()
        self._indexed: dict[int, set[Dimension]] = {}
        self._along: dict[int, tuple[int, ...]] = {}
        self._asked: set[Source] | None = None
        self._tried: tuple[torch.nn.Module, tuple[Any, ...], list[torch.Tensor]] | None = None

    def by_name(self) -> dict[str, Structure]:
        """Return the structure of each tensor among the inputs, by the name of its input."""
        return {own: self.structure(at) for at, own in self.names().items()}

    def drawn(self, model: torch.nn.Module, inputs: tuple[Any, ...], kind: str, form: Form) -> tuple[Any, ...]:
        """Return inputs of a kind in place of given ones."""
        leaves, tree = tree_flatten(list(inputs))
        free = list(self.free(leaves))
        edged = form.edged or tuple(free[form.place : form.place + 1])
        further = [free[place] for place in form.further if place < len(free)]
        epsilons = (*self._epsilons, *epsilons_of(model))
        for at, value in enumerate(leaves):
            if isinstance(value, torch.Tensor):
                first = at in edged or at in further
                level = 0 if at in further else form.level
                wanted = Wanted(self.structure(at), first, level, form.signed, epsilons, value.dtype)
                wanted = replace(wanted, chosen=bool(form.edged))
                masked = any(word in self._problem.reference for word in MASKS)
                special = form.special if at in self._asked_for_special() else ()
                wanted = replace(wanted, masked=masked, others_positive=form.others_positive, special=special)
                if self.structure(at).repeats:
                    wanted = replace(wanted, below=self._size_indexed(at, model, inputs))
                if first and value.dim() > 1:
                    wanted = replace(wanted, along=self._brought_together(at))
                leaves[at] = drawn(value, kind, wanted)
        return tuple(tree_unflatten(leaves, tree))

    def draw_state(self, model: torch.nn.Module, kind: str, form: Form) -> None:
        """Give a model's drawn parameters and buffers the signs and the edges of a form."""
        if form.others_positive:
            make_weights_positive(model)
        for name, value in state_of(model).items():
            if name in form.edged:
                epsilons = (*self._epsilons, *epsilons_of(model))
                wanted = Wanted(FREE, first=True, level=form.level, epsilons=epsilons, dtype=value.dtype)
                edges = drawn(value.detach(), kind, wanted)
                value.detach().copy_(edges if bool((value < 0).any()) else edges.abs())

    def names(self) -> dict[int, str]:
        """Return the names of the tensors among the leaves of the inputs, by place."""
        reference = setup.load_reference(self._problem, self._problem.small[0])
        first = self._samples[0][0]
        names = input_names(setup.make_model(reference, self._problem), len(first))
        owners = [own for n, value in zip(names, first, strict=True) for own in taken_apart(value, n).tensors]
        places = [at for at, value in enumerate(tree_leaves(list(first))) if isinstance(value, torch.Tensor)]
        return dict(zip(places, owners, strict=False))

    def arrivals(self) -> Arrivals:
        """See which inputs, parameters and buffers meet in the operations of the reference that have edges."""
        model, inputs, _ = self.known()
        return arrivals(model, inputs, self._wide, self.free(tree_leaves(list(inputs))))

    def _brought_together(self, at: int) -> tuple[int, ...]:
        """Return the dimensions of a tensor whose elements the reference brings together; none where all are."""
        if at not in self._along:
            model, inputs, given = self.known()
            leaves, tree = tree_flatten(list(inputs))

            def outputs(changed: torch.Tensor) -> list[torch.Tensor]:
                return outputs_in(
                    model, tuple(tree_unflatten([*leaves[:at], changed, *leaves[at + 1 :]], tree)), self._wide
                )

            self._along[at] = dimensions_together(leaves[at], given, outputs)
        return self._along[at]

    def _asked_for_special(self) -> set[Source]:
        """Return the places of the inputs without rule in which the reference asks for NaN or infinities."""
        if self._asked is None:
            model, inputs, _ = self.known()
            self._asked = leaves_asked(model, inputs, self._wide) - self._ruled
        return self._asked

    def _size_indexed(self, at: int, model: torch.nn.Module, inputs: tuple[Any, ...]) -> int | None:
        """Return the size of the dimension that an input of integers indexes; None where it is not known."""
        if at not in self._indexed:
            with torch.device("cpu"):  # a GPU does not survive an index that is too large
                found = [self._dimensions_indexed(at, workload) for workload in self._problem.small]
            self._indexed[at] = set.intersection(*found)
        sizes = sizes_of(model, inputs)
        return min((sizes[place] for place in self._indexed[at]), default=None)

    def _dimensions_indexed(self, at: int, workload: Workload) -> set[Dimension]:
        """Return the dimensions whose last index the reference takes and whose size it refuses as an index."""
        model, inputs, _ = self._model_and_inputs(workload)
        leaves, tree = tree_flatten(list(inputs))
        most = int(leaves[at].max())

        def takes(index: int) -> bool:
            changed = leaves[at].clone(memory_format=torch.contiguous_format)
            changed.view(-1)[0] = index
            return bool(outputs_in(model, tree_unflatten([*leaves[:at], changed, *leaves[at + 1 :]], tree), self._wide))

        sizes = sizes_of(model, inputs)
        larger = sorted({size for size in sizes.values() if most < size <= torch.iinfo(leaves[at].dtype).max})
        last = next((size for size in larger if not takes(size)), None)
        if last is None or not takes(last - 1):
            return set()
        return {place for place, size in sizes.items() if size == last}

    def structure(self, at: int) -> Structure:
        """Return the structure of a leaf of the inputs."""
        return self._structures.get(at, KEPT)

    def free(self, leaves: Sequence[object]) -> Iterator[int]:
        """Yield the places of the leaves whose values are free."""
        for at, value in enumerate(leaves):
            structure = self.structure(at)
            floating = isinstance(value, torch.Tensor) and value.is_floating_point()
            if floating and not structure.kept and not structure.constant:
                yield at

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
        self._ruled = {at for at, name in enumerate(owners) if name in self._problem.inputs}
        structures = {}
        for at, name in enumerate(owners):
            samples = [[leaves[at] for leaves in turns if at < len(leaves)] for turns in calls]
            if all(isinstance(value, torch.Tensor) for values in samples for value in values):
                structures[at] = structure_seen(samples, self._problem.inputs.get(name))
        return structures

    def candidates(self, kind: str) -> list[Form]:
        """Return the forms of a kind, the mildest last."""
        signs = (True, False) if any(structure.uniform for structure in self._structures.values()) else (False,)
        special = (*SPECIAL, ()) if kind == EXTREME and self._asked_for_special() else ((),)
        forms = itertools.product(special, signs, range(LEVELS.get(kind, 2)))
        return [Form(level, signed, special=values) for values, signed, level in forms]

    def stays_inside(self, kind: str, form: Form, watch: AbstractContextManager[object] | None = None) -> bool:
        """Return whether the reference, which is watched, gives numbers for a kind where it does for given inputs."""
        model, inputs, given = self.known()
        seed_random(derive_seed("domain", kind))
        if form.others_positive or form.edged:
            model = copy.deepcopy(model)
            self.draw_state(model, kind, form)
        growth, drawn_inputs = Growth(), self.drawn(model, inputs, kind, form)
        with growth if kind == EXTREME else watch or nullcontext():
            values = outputs_in(model, drawn_inputs, self._wide)
        if not given:
            return True
        if growth.outgrown:
            return False
        return bool(values) and all(are_numbers(a, b) for a, b in zip(values, given, strict=False))

    def known(self) -> tuple[torch.nn.Module, tuple[Any, ...], list[torch.Tensor]]:
        """Return the model in at least float32 for the last small workload, given inputs, and its outputs for these."""
        if self._tried is None:
            self._tried = self._model_and_inputs(self._problem.small[-1])
        return self._tried

    def _model_and_inputs(self, workload: Workload) -> tuple[torch.nn.Module, tuple[Any, ...], list[torch.Tensor]]:
        """Return the model in at least float32 for a workload, given inputs, and its outputs for these."""
        reference = setup.load_reference(self._problem, workload)
        model = setup.make_model(reference, self._problem, seed=derive_seed("domain"))
        inputs = setup.make_inputs(reference, self._problem, seed=derive_seed("domain", GIVEN))
        wide = model.to(self._wide)
        return wide, inputs, outputs_in(wide, inputs, self._wide)


def inputs_key(problem: Problem, workloads: Sequence[Workload], device: torch.device) -> tuple[object, ...]:
    """Return a key that differs wherever the reference, or the draws of its inputs for the workloads, may differ."""
    rules = tuple(sorted((name, rule.model_dump_json()) for name, rule in problem.inputs.items()))
    sizes = tuple(workload.model_dump_json() for workload in workloads)
    return problem.name, problem.reference, problem.dtypes, rules, sizes, str(device)
