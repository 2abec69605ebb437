"""Try a reference with other sizes on meta tensors: whether it runs, and what shapes it makes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch

from kopt.device.reference import setup
from kopt.device.reference.contract import CANDIDATE_MODULE, load_candidate
from kopt.device.reference.dispatch import DispatchMode
from kopt.device.reference.forward import call
from kopt.device.reference.rejection import Rejected, describe
from kopt.device.reference.tree import tensors_of
from kopt.model.build import Phase
from kopt.model.kernel import Kernel
from kopt.model.problem import Dtype, Problem, Workload

Shape = tuple[int, ...]

SLOW = 1 << 18
"""Elements of a tensor from which kopt's interpreter takes long for a workload."""
USUAL_SMALL = 1 << 15
"""Most elements in the small workloads of the shipped problems."""


@dataclass(frozen=True)
class Trial:
    """Shapes that a reference makes with one choice of its sizes."""

    inputs: tuple[Shape, ...]
    parameters: tuple[Shape, ...]
    made: tuple[Shape, ...]
    """Shapes of the operations' results, in order, and of the outputs at the end."""

    @property
    def largest(self) -> int:
        """Elements of the largest tensor."""
        return max((prod(shape) for shape in (*self.inputs, *self.parameters, *self.made)), default=0)


def try_sizes(problem: Problem, constants: Mapping[str, int]) -> Trial:
    """Run the reference on meta tensors with some of its constants replaced.

    Raises:
        ProblemError: the reference does not run with these constants.
    """
    with torch.device("meta"):
        reference = setup.load_reference(problem, Workload(name="trial", constants=dict(constants)))
        model = setup.make_model(reference, problem)
        inputs = setup.make_inputs(reference, problem)
        with _Shapes() as made:
            output = call(model, inputs)
    return Trial(
        inputs=_shapes(inputs),
        parameters=tuple(tuple(value.shape) for value in model.state_dict().values()),
        made=(*made.shapes, *_shapes(output)),
    )


def try_values(problem: Problem, constants: Mapping[str, int]) -> None:
    """Run the reference on the CPU with some of its constants replaced; they have to be small.

    Raises:
        ProblemError: the reference does not run with these constants.
    """
    reference = setup.load_reference(problem, Workload(name="trial", constants=dict(constants)))
    call(setup.make_model(reference, problem), setup.make_inputs(reference, problem, seed=0))


def given_dtype(problem: Problem) -> Dtype:
    """Return the dtype of the first floating-point tensor of `get_inputs`; float32 where kopt has no such dtype.

    Raises:
        ProblemError: the reference raises.
    """
    with torch.device("meta"):
        reference = setup.load_reference(problem, problem.main[0])
        given = setup.given_inputs(reference, problem)
    known = {getattr(torch, dtype.value): dtype for dtype in Dtype}
    floating = [tensor.dtype for tensor in tensors_of(given) if tensor.is_floating_point()]
    return known.get(floating[0], Dtype.FLOAT32) if floating else Dtype.FLOAT32


def module_shapes(source: str, name: str, arguments: Sequence[object]) -> dict[str, Shape]:
    """Return the shapes of the parameters and buffers of a module that a candidate's source defines, by name.

    Runs the source, and writes it into the working folder: call it in the cage.

    Raises:
        Rejected: the source does not run, or the module cannot be made.
    """
    load_candidate(Kernel(source=source), Path.cwd())
    try:
        with torch.device("meta"):
            module = getattr(sys.modules[CANDIDATE_MODULE], name)(*arguments)
    except Exception as error:
        raise Rejected(Phase.IMPORT, describe(error, Path.cwd())) from error
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {own: tuple(value.shape) for own, value in state.items()}


class _Shapes(DispatchMode):
    """Collect the shapes of the operations' results."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not type it
        self.shapes: list[Shape] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.shapes += _shapes(out)
        return out


def _shapes(values: object) -> tuple[Shape, ...]:
    return tuple(tuple(tensor.shape) for tensor in tensors_of(values))


def constant_values(problem: Problem, names: Iterable[str]) -> dict[str, int]:
    """Return those constants of the reference that are whole numbers, by name.

    Raises:
        ProblemError: the reference raises.
    """
    with torch.device("meta"):
        values = vars(setup.load_reference(problem, problem.main[0]))
    return {name: values[name] for name in names if type(values.get(name)) is int}


def slow_small(problem: Problem) -> str:
    """Write a warning that names the small workloads that are not small; empty when all are.

    Raises:
        ProblemError: the reference does not run.
    """
    large = []
    for workload in problem.small:
        trial = try_sizes(problem, workload.constants)
        if trial.largest > SLOW:
            shape = "x".join(str(size) for size in max((*trial.inputs, *trial.made), key=prod))
            large.append(f"{workload.name} ({shape}, {trial.largest:,} elements)")
    if not large:
        return ""
    return (
        f"{problem.name}: small workload {', '.join(large)} may take minutes in kopt's interpreter: "
        f"choose sizes in problem.yaml with at most some {USUAL_SMALL:,} elements in the largest tensor"
    )
