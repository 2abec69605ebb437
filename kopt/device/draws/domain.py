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

from kopt.device.draws.exponentials import MOST_EXPONENT, MOST_PRODUCT, Exponents
from kopt.device.draws.form import Form
from kopt.device.draws.growth import MOST_SCORE, Growth
from kopt.device.draws.kinds import GIVEN, KINDS, LEVELS, Wanted, drawn
from kopt.device.draws.lows import FAR_BELOW, Lows
from kopt.device.draws.mixing import dimensions_together
from kopt.device.draws.model import (
    Dimension,
    are_numbers,
    epsilons_of,
    make_weights_positive,
    outputs_in,
    sizes_of,
    small_constants,
    weights_of,
)
from kopt.device.draws.not_finite import SPECIAL, leaves_asked
from kopt.device.draws.seeds import derive_seed
from kopt.device.draws.structure import KEPT, Structure, structure_seen
from kopt.device.reference import setup
from kopt.device.reference.contract import input_names
from kopt.device.reference.seeding import seed_random
from kopt.device.reference.tree import taken_apart
from kopt.model.problem import Problem, Workload

EXTREME = "extreme"
"""Kind of the largest and smallest numbers."""

NEGATIVE = "negative"
"""Kind of the rows of one sign, for which weights are made positive."""

LARGE = "large"
"""Kind of numbers whose exponentials overflow, for each input of which the reference takes exponentials."""

EXPONENTIATED = 12
"""Inputs that are tried as further ones with the edges of `large`."""

EDGED = 4
"""Inputs that are tried as the one with the edges of `negative`."""

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
        self._forms: dict[str, Form | None] = {}
        self._indexed: dict[int, set[Dimension]] = {}
        self._along: dict[int, tuple[int, ...]] = {}
        self._asked: set[int] | None = None
        self._tried: tuple[torch.nn.Module, tuple[Any, ...], list[torch.Tensor]] | None = None

    def by_name(self) -> dict[str, Structure]:
        """Return the structure of each tensor among the inputs, by the name of its input."""
        reference = setup.load_reference(self._problem, self._problem.small[0])
        first = self._samples[0][0]
        names = input_names(setup.make_model(reference, self._problem), len(first))
        owners = [own for n, value in zip(names, first, strict=True) for own in taken_apart(value, n).tensors]
        places = [at for at, value in enumerate(tree_leaves(list(first))) if isinstance(value, torch.Tensor)]
        return {own: self._structure(at) for own, at in zip(owners, places, strict=False)}

    def form(self, kind: str) -> Form | None:
        """Return the form in which a kind is drawn; None where no form of it stays inside the domain."""
        if kind not in self._forms:
            candidates = (form for form in self._candidates(kind) if self._stays_inside(kind, form))
            found = next(candidates, None)
            if kind == LARGE:
                found = self._with_large_exponents(found)
            self._forms[kind] = self._with_low_maxima(found) if found and kind == NEGATIVE else found
        return self._forms[kind]

    def drawn(self, model: torch.nn.Module, inputs: tuple[Any, ...], kind: str, form: Form) -> tuple[Any, ...]:
        """Return inputs of a kind in place of given ones."""
        leaves, tree = tree_flatten(list(inputs))
        free = list(self._free(leaves))
        edged = free[form.place] if form.place < len(free) else -1
        further = [free[place] for place in form.further if place < len(free)]
        epsilons = (*self._epsilons, *epsilons_of(model))
        for at, value in enumerate(leaves):
            if isinstance(value, torch.Tensor):
                first = at == edged or at in further
                level = 0 if at in further else form.level
                wanted = Wanted(self._structure(at), first, level, form.signed, epsilons, value.dtype)
                masked = any(word in self._problem.reference for word in MASKS)
                special = form.special if at in self._asked_for_special() else ()
                wanted = replace(wanted, masked=masked, others_positive=form.others_positive, special=special)
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
                return outputs_in(
                    model, tuple(tree_unflatten([*leaves[:at], changed, *leaves[at + 1 :]], tree)), self._wide
                )

            self._along[at] = dimensions_together(leaves[at], given, outputs)
        return self._along[at]

    def _asked_for_special(self) -> set[int]:
        """Return the places of the inputs without rule in which the reference asks for NaN or infinities."""
        if self._asked is None:
            model, inputs, _ = self._known()
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

    def _structure(self, at: int) -> Structure:
        return self._structures.get(at, KEPT)

    def _free(self, leaves: Sequence[object]) -> Iterator[int]:
        """Yield the places of the leaves whose values are free."""
        for at, value in enumerate(leaves):
            structure = self._structure(at)
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

    def _candidates(self, kind: str) -> list[Form]:
        signs = (True, False) if any(structure.uniform for structure in self._structures.values()) else (False,)
        special = (*SPECIAL, ()) if kind == EXTREME and self._asked_for_special() else ((),)
        forms = itertools.product(special, signs, range(LEVELS.get(kind, 2)))
        return [Form(level, signed, special=values) for values, signed, level in forms]

    def _with_low_maxima(self, found: Form) -> Form:
        """Return the form with positive other inputs and weights where that lowers a maximum far below zero.

        It is the given form where there is no such maximum: the variance of sums of products of one sign cannot be
        computed as the difference of two means.
        """
        model, inputs, _ = self._known()
        free = list(itertools.islice(self._free(tree_leaves(list(inputs))), EDGED))
        if len(free) + len(weights_of(model)) < 2:
            return found
        for place in range(len(free)):
            form, lows = replace(found, place=place, others_positive=True), Lows()
            inside = self._stays_inside(NEGATIVE, form, lows)
            if lows.lowest is None:
                break
            if inside and -MOST_SCORE < lows.lowest < FAR_BELOW:
                return form
        return found

    def _with_large_exponents(self, found: Form | None) -> Form | None:
        """Return the form with large values in each input of which the reference takes exponentials.

        Of two inputs whose product is an exponent only one gets large values, since a right kernel cannot compute the
        product of two exactly enough; and it does so only where no other input makes an exponential overflow.
        """
        usual = self._exponents("normal", Form())
        if usual is None or not usual.magnitudes:
            return found
        _, inputs, _ = self._known()
        free = list(itertools.islice(self._free(tree_leaves(list(inputs))), EXPONENTIATED))
        form, alone = found, self._exponents(LARGE, found) if found else None
        for most in (MOST_EXPONENT, MOST_PRODUCT):
            for place in (place for place, at in enumerate(free) if self._structure(at).sign >= 0):
                taken = (form.place, *form.further) if form else ()
                own = self._exponents(LARGE, Form(place=place)) if place not in taken else None
                if own and own.overflow_beside(usual, most):
                    more = replace(form, further=(*form.further, place)) if form else Form(place=place)
                    together = self._exponents(LARGE, more)
                    if together and together.largest <= max(most, 2 * alone.largest if alone else 0.0):
                        form = more
            now = self._exponents(LARGE, form) if form else None
            if now and now.overflow_beside(usual):
                break
        return form

    def _exponents(self, kind: str, form: Form) -> Exponents | None:
        """Return the exponents that the reference takes for a kind; None where it leaves the domain."""
        seen = Exponents()
        return seen if self._stays_inside(kind, form, seen) else None

    def _stays_inside(self, kind: str, form: Form, watch: AbstractContextManager[object] | None = None) -> bool:
        """Return whether the reference, which is watched, gives numbers for a kind where it does for given inputs."""
        model, inputs, given = self._known()
        seed_random(derive_seed("domain", kind))
        if form.others_positive:
            model = copy.deepcopy(model)
            make_weights_positive(model)
        growth, drawn_inputs = Growth(), self.drawn(model, inputs, kind, form)
        with growth if kind == EXTREME else watch or nullcontext():
            values = outputs_in(model, drawn_inputs, self._wide)
        if not given:
            return True
        if growth.outgrown:
            return False
        return bool(values) and all(are_numbers(a, b) for a, b in zip(values, given, strict=False))

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
        return wide, inputs, outputs_in(wide, inputs, self._wide)


def find_domain(problem: Problem) -> None:
    """Look for the structure of a problem's inputs and its domain now, so that forked processes need not."""
    domain = domain_of(problem)
    for kind in KINDS:
        domain.form(kind)


def structures(problem: Problem) -> dict[str, Structure]:
    """Return the structure that draws keep of each tensor among the inputs, by name (`x`, `x[1]`)."""
    return domain_of(problem).by_name()


def kinds_outside(problem: Problem) -> tuple[str, ...]:
    """Return the kinds of draw that leave the reference's domain in every form, and are replaced by `given`."""
    domain = domain_of(problem)
    return tuple(kind for kind in KINDS if domain.form(kind) is None)


def inputs_key(problem: Problem, workloads: Sequence[Workload], device: torch.device) -> tuple[object, ...]:
    """Return a key that differs wherever the reference, or the draws of its inputs for the workloads, may differ."""
    rules = tuple(sorted((name, rule.model_dump_json()) for name, rule in problem.inputs.items()))
    sizes = tuple(workload.model_dump_json() for workload in workloads)
    return problem.name, problem.reference, problem.dtype, rules, sizes, str(device)


_DOMAINS: dict[tuple[object, ...], Domain] = {}


def domain_of(problem: Problem) -> Domain:
    """Return the domain of a problem, which is looked for once in a process."""
    key = inputs_key(problem, problem.small, torch.get_default_device())
    if key not in _DOMAINS:
        _DOMAINS[key] = Domain(problem)
    return _DOMAINS[key]
