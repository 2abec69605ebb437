"""Draw the inputs of a verdict: of several kinds, within the structure of what `get_inputs` makes.

Every verdict holds every kind of draw (`kopt.device.draws.kinds`), whatever its seed, and the problem's own inputs
as `get_inputs` makes them (`given`).  A kind that leaves the reference's domain, so that it raises or gives NaN, is
replaced by a milder form of it, at last by `given`.  All draws follow from one seed; tensors are made on torch's
default device.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch

from kopt.device.draws.forms import forms_of
from kopt.device.draws.kinds import GIVEN, KINDS
from kopt.device.draws.model import draw_parameters
from kopt.device.draws.seeds import derive_seed
from kopt.device.reference import setup
from kopt.model.problem import Problem, Workload, WorkloadKind, workload_title

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
    edges: str = ""
    """Names of the inputs, parameters and buffers that alone have the kind's edges (`kopt.device.draws.forms`); empty
    for the kind's usual form."""
    kind: WorkloadKind = "small"
    """Kind of the workload."""

    @property
    def label(self) -> str:
        """Name of the draw for people: `zeros`, `zeros (y)`."""
        return f"{self.distribution} ({self.edges})" if self.edges else self.distribution

    @property
    def where(self) -> str:
        """Workload and kind for messages: `small workload ragged, zeros inputs (y)`."""
        edges = f" ({self.edges})" if self.edges else ""
        return f"{workload_title(self.workload.name, self.kind)}, {self.distribution} inputs{edges}"


@dataclass(frozen=True)
class Case:
    """The inputs of a draw, with the reference that goes with them."""

    reference: ModuleType
    """Executed `problem.py` with the workload's constants."""
    model: torch.nn.Module
    """The reference's model, with drawn parameters."""
    inputs: tuple[Any, ...]
    """Values of `get_inputs` (`Any`: the problem may choose any type), with drawn tensors."""


def plan(
    workloads: Sequence[Workload],
    *seed: object,
    timed: Sequence[Workload] = (),
    hidden: Sequence[Workload] = (),
    further: Sequence[tuple[str, str]] = (),
) -> tuple[Draw, ...]:
    """Plan the draws of one verdict, so that every kind is drawn, and `given` and `normal` on every workload.

    Args:
        workloads: small workloads, which share all kinds of draw among them.
        seed: parts from which the draws' seeds follow; nothing else follows from them.
        timed: timed workloads, with `FULL_SIZE` draws only, which come first.
        hidden: hidden workloads, with `FULL_SIZE` draws only, which come next.
        further: kinds that are drawn once more with other edges, and the names of what has these edges; they come last,
            on another of the workloads than the kind itself.
    """
    draws: list[Draw] = []

    def add(workload: Workload, distribution: str, kind: WorkloadKind, edges: str = "") -> None:
        draws.append(Draw(workload, distribution, derive_seed(*seed, len(draws)), edges, kind))

    for at, workload in enumerate((*timed, *hidden)):
        for distribution in _full_size_kinds(at, len(timed) + len(hidden)):
            add(workload, distribution, "timed" if at < len(timed) else "hidden")
    for distribution in (GIVEN, TIMED):
        for workload in workloads:
            add(workload, distribution, "small")
    others = [distribution for distribution in DISTRIBUTIONS if distribution not in (GIVEN, TIMED)]
    for at, distribution in enumerate(others if workloads else ()):
        add(workloads[at % len(workloads)], distribution, "small")
    turns = Counter[str]()
    for distribution, edges in further if workloads else ():
        turns[distribution] += 1
        at = others.index(distribution) + turns[distribution]
        add(workloads[at % len(workloads)], distribution, "small", edges)
    return tuple(draws)


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
    forms = None if draw.distribution == GIVEN else forms_of(problem)
    form = forms.form(draw.distribution, draw.edges) if forms is not None else None  # before the seed is used
    reference = setup.load_reference(problem, draw.workload)
    model = setup.make_model(reference, problem, seed=draw.seed)
    seed = derive_seed(draw.seed, "inputs")
    if forms is None:
        inputs = setup.make_inputs(reference, problem, seed=seed)
        return Case(reference, model, setup.with_saved(reference, problem, model, inputs))
    draw_parameters(model)
    inputs = setup.make_inputs(reference, problem, seed=seed)
    if form is not None:
        forms.domain.draw_state(model, draw.distribution, form)
        inputs = forms.domain.drawn(model, inputs, draw.distribution, form)
    return Case(reference, model, setup.with_saved(reference, problem, model, inputs))
