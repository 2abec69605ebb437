"""Draw the inputs of a verdict: of several kinds, within the structure of what `get_inputs` makes.

Every verdict holds every kind of draw (`kopt.device.draws.kinds`), whatever its seed, and the problem's own inputs
as `get_inputs` makes them (`given`).  A kind that leaves the reference's domain, so that it raises or gives NaN, is
replaced by a milder form of it, at last by `given`.  All draws follow from one seed; tensors are made on torch's
default device.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch

from kopt.device.draws.domain import domain_of
from kopt.device.draws.kinds import GIVEN, KINDS
from kopt.device.draws.model import draw_parameters, make_weights_positive
from kopt.device.draws.seeds import derive_seed
from kopt.device.reference import setup
from kopt.model.problem import Problem, Workload

DISTRIBUTIONS = (GIVEN, *KINDS)
"""Names of all kinds of draw."""

TIMED = "normal"
"""Kind of the inputs on which kernels are timed."""

FULL_SIZE = (GIVEN, "integer", "range")
"""Kinds that are drawn at full size, where a set of inputs may fill gigabytes; other workloads hold the rest."""


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
    domain = None if draw.distribution == GIVEN else domain_of(problem)
    form = domain.form(draw.distribution) if domain is not None else None  # before anything is drawn from the seed
    reference = setup.load_reference(problem, draw.workload)
    model = setup.make_model(reference, problem, seed=draw.seed)
    seed = derive_seed(draw.seed, "inputs")
    if domain is None:
        inputs = setup.make_inputs(reference, problem, seed=seed)
        return Case(reference, model, setup.with_saved(reference, problem, model, inputs))
    draw_parameters(model)
    inputs = setup.make_inputs(reference, problem, seed=seed)
    if form is not None:
        if form.others_positive:
            make_weights_positive(model)
        inputs = domain.drawn(model, inputs, draw.distribution, form)
    return Case(reference, model, setup.with_saved(reference, problem, model, inputs))
