"""Count what a problem must move and compute, by tracing its reference on meta tensors at full size.

Tracing needs neither a GPU nor memory.  The reference is trusted code and runs in this process.  `Any`: inputs and
results are of whatever type a problem chooses.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

import torch

from kopt.device.facts.arguments import given_in
from kopt.device.facts.eager_ops import EagerOps, recording
from kopt.device.facts.influence import changed_shares, influential_shares
from kopt.device.facts.needed_elements import (
    changed_tensors,
    distinct_share,
    necessary_products,
    needed_shares,
    storage_of,
    without_repetitions,
    written_shares,
)
from kopt.device.facts.product_types import product_type
from kopt.device.reference import setup
from kopt.device.reference.contract import build_tensors
from kopt.device.reference.forward import call
from kopt.device.reference.given import input_names
from kopt.device.reference.layout import dtype_name, extent
from kopt.device.reference.tree import taken_apart, tensors_of
from kopt.errors import ProblemError
from kopt.model.problem import Problem, ProblemFacts, TensorSpec, Workload, WorkloadFacts, workload_title

log = logging.getLogger(__name__)

AFTERWARDS = " afterwards"
"""Suffix of the name of an output that is an input which the reference changes."""
MOST = 0.85
"""Share of an input's elements from which all count as mattering: the few tries are no finer."""
WITHOUT_STRUCTURE = 0.99
"""Share of an input's elements that must vary and matter for products with it to be called necessary."""


def problem_facts(problem: Problem) -> ProblemFacts:
    """Return the facts of every main workload of a problem.

    Raises:
        ProblemError: the reference cannot be set up, or cannot be run.
    """
    matters, partly = _tried(problem), _partly_changed(problem)
    workloads = tuple(workload_facts(problem, workload, matters, partly) for workload in problem.main)
    every = (given_in(problem, workload) for workload in (*problem.main, *problem.hidden, *problem.small))
    return ProblemFacts(dtype=problem.dtype, workloads=workloads, given=tuple(filter(None, every)))


def workload_facts(
    problem: Problem, workload: Workload, matters: Mapping[str, float] | None = None, partly: Collection[str] = ()
) -> WorkloadFacts:
    """Return the facts of one workload.

    Args:
        problem: the problem.
        workload: one of its workloads.
        matters: of the elements that the operations of the reference read, the share that matters, as tried on a small
            workload; None when the reference could not be run there.
        partly: inputs, by the names that builds give to them, of which the values decide what is changed.

    Raises:
        ProblemError: as for `problem_facts`.
    """
    try:
        traced = _trace(problem, workload)
    except ProblemError as error:
        if matters is None or error.__cause__ is None:
            raise
        log.warning("%s: nothing is known of what it must move", error)
        return WorkloadFacts(
            workload=workload.name, inputs=(), outputs=(), eager_ops=(), floor=problem.floor.get(workload.name),
            weight=problem.weights.get(workload.name, 1.0), unknown=_one_line(error.__cause__),
        )  # fmt: skip
    asked = {name: share * (matters or {}).get(name, 0.0) for name, share in traced.read_shares().items()}
    places, once = _places(traced.given), without_repetitions(traced.given)
    given = {
        name: _spec(traced.names[name], tensor, places[storage_of(tensor)], asked[name] if name in once else 0.0)
        for name, tensor in traced.given.items()
    }
    whole = [tensor for name, tensor in traced.given.items() if asked[name] >= WITHOUT_STRUCTURE]
    products = necessary_products(traced.eager.nodes, list(traced.outputs.values()), whole)
    return WorkloadFacts(
        workload=workload.name,
        inputs=tuple(spec for name, spec in given.items() if name.startswith("input ")),
        parameters=tuple(spec for name, spec in given.items() if name.startswith("model ")),
        outputs=tuple(_output_specs(traced, places, partly)),
        eager_ops=tuple(traced.eager.operations),
        necessary_flops=sum(products.values()),
        product_type=product_type(traced.eager.nodes, products),
        floor=problem.floor.get(workload.name),
        weight=problem.weights.get(workload.name, 1.0),
    )


class _Traced(NamedTuple):
    """A reference traced on meta tensors."""

    eager: EagerOps
    given: dict[str, torch.Tensor]
    """Inputs and parameters by the names that builds give their memory."""
    names: dict[str, str]
    """Names of the same for people, inputs as in `forward`."""
    outputs: dict[str, torch.Tensor]
    """Returned tensors, and inputs that the reference changes."""

    def read_shares(self) -> dict[str, float]:
        """Return the share of each input that the operations of the reference need."""
        return needed_shares(self.eager.nodes, list(self.outputs.values()), self.given)


def _trace(problem: Problem, workload: Workload) -> _Traced:
    """Trace a workload of the reference on meta tensors.

    Raises:
        ProblemError: the reference cannot be set up or traced.
    """
    try:
        with torch.device("meta"), torch.no_grad():
            reference = setup.load_reference(problem, workload)
            model = setup.make_model(reference, problem)
            inputs = setup.make_inputs(reference, problem)
            with recording() as eager:
                result = call(model, inputs)
    except ProblemError as error:
        where = f"{problem.name}, {workload_title(workload.name, 'timed')}"
        raise ProblemError(f"{where}: the reference cannot be traced: {error}") from error
    given = build_tensors(inputs, model)
    names = {name: name.removeprefix("model ") for name in given}
    for place, (name, value) in enumerate(zip(input_names(model, len(inputs)), inputs, strict=True)):
        named = taken_apart(value, name).tensors
        names |= dict(zip(taken_apart(value, f"input {place}").tensors, named, strict=True))
    changed = {names[name] + AFTERWARDS: given[name] for name in changed_tensors(eager.nodes, given)}
    outputs = taken_apart(result, "output").tensors | changed
    if not outputs:
        raise ProblemError(
            f"{problem.name}: the reference returns {type(result).__name__}, not a tensor: return a tensor, or several "
            "in tuples, lists or dictionaries, or change a tensor that is given"
        )
    return _Traced(eager, given, names, outputs)


def _tried(problem: Problem) -> dict[str, float] | None:
    """Try on the smallest workload which share of the elements that the reference reads matters.

    Returns:
        Shares by the names that builds give to inputs; None where the reference cannot be run.
    """
    try:
        workload = _smallest(problem)
        shares = influential_shares(problem, workload)
    except Exception as error:  # noqa: BLE001 - a problem's code may raise anything; then nothing is asked
        log.info("%s: no share of inputs was tried: %s", problem.name, _one_line(error))
        return None
    try:
        read = _trace(problem, workload).read_shares()
    except ProblemError:
        return shares
    matters = {name: share / max(read.get(name, 1.0), 1e-9) for name, share in shares.items()}
    return {name: 1.0 if share > MOST else share for name, share in matters.items()}


def _partly_changed(problem: Problem) -> frozenset[str]:
    """Return the inputs that the reference writes, but for a part gives back the values that they had.

    A right kernel need not write that part, and the values of other inputs may decide which part it is.
    """
    try:
        workload = _smallest(problem)
        changed = changed_shares(problem, workload)
        traced = _trace(problem, workload)
    except Exception as error:  # noqa: BLE001 - a problem's code may raise anything; then nothing is known
        log.info("%s: no change of inputs was tried: %s", problem.name, _one_line(error))
        return frozenset()
    written = written_shares(traced.eager.nodes, traced.given)
    return frozenset(name for name, share in written.items() if changed.get(name, 0.0) < MOST * share)


def _smallest(problem: Problem) -> Workload:
    """Return the small workload whose inputs have the fewest elements."""
    return min(problem.small, key=lambda small: _elements(problem, small))


def _elements(problem: Problem, workload: Workload) -> int:
    """Return the number of elements of all inputs of a workload."""
    with torch.device("meta"):
        return sum(
            tensor.numel() for tensor in tensors_of(setup.make_inputs(setup.load_reference(problem, workload), problem))
        )


def _places(given: Mapping[str, torch.Tensor]) -> dict[int, str]:
    """Return the name of each storage in builds: that of the first of the tensors that share it."""
    places: dict[int, str] = {}
    for name, tensor in given.items():
        places.setdefault(storage_of(tensor), name)
    return places


def _output_specs(traced: _Traced, places: Mapping[int, str], partly: Collection[str]) -> Iterator[TensorSpec]:
    """Yield the outputs; of memory that the reference was given, what must be written counts once, as a change."""
    shares = written_shares(traced.eager.nodes, traced.given)
    written = {name: 0.0 if name in partly else share for name, share in shares.items()}
    own = without_repetitions(traced.given)
    afterwards = {traced.names[name] + AFTERWARDS: share for name, share in written.items() if name in own}
    once = without_repetitions(traced.outputs)
    for name, tensor in traced.outputs.items():
        place = places.get(storage_of(tensor), "")
        yield _spec(name, tensor, place, afterwards.get(name, 0.0) if place else float(name in once))


def _spec(name: str, tensor: torch.Tensor, place: str, needed: float) -> TensorSpec:
    end = int(tensor.storage_offset()) + extent(tensor.shape, tensor.stride())
    return TensorSpec(
        name=name,
        shape=tuple(tensor.shape),
        dtype=dtype_name(tensor.dtype),
        place=place,
        needed=needed * distinct_share(tensor),
        end=0 if end == tensor.numel() else end * tensor.element_size(),
    )


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
