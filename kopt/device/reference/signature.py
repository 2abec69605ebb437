"""See what a reference takes and returns, by one call on meta tensors."""

from __future__ import annotations

import torch

from kopt.device.reference import setup
from kopt.device.reference.file_name import folder_of
from kopt.device.reference.forward import call
from kopt.device.reference.given import input_names
from kopt.device.reference.layout import dtype_name
from kopt.device.reference.tree import taken_apart
from kopt.errors import ProblemError
from kopt.model.problem import Problem, TensorSpec, Workload
from kopt.model.signature import Signature


def signature_of(problem: Problem, workload: Workload) -> Signature:
    """Call the reference once on meta tensors.

    Raises:
        ProblemError: the reference does not run.
    """
    with torch.device("meta"):
        reference = setup.load_reference(problem, workload)
        model = setup.make_model(reference, problem)
        given = setup.given_inputs(reference, problem)
        inputs = setup.make_inputs(reference, problem)
        try:
            output = call(model, inputs)
        except ProblemError as error:
            raise ProblemError(f"{folder_of(problem.name)}{error}") from error
    names = input_names(model, len(inputs))
    tensors: dict[str, torch.Tensor] = {}
    for name, value in zip(names, inputs, strict=True):
        tensors |= taken_apart(value, name).tensors
    before = [t for n, value in zip(names, given, strict=True) for t in taken_apart(value, n).tensors.values()]
    plain = [
        f"{name} = {value!r}" for name, value in zip(names, inputs, strict=True) if not taken_apart(value, name).tensors
    ]
    parts, state = taken_apart(output, "output"), _state(model)
    with torch.device("meta"):
        made = _state(setup.make_model(reference, problem, as_given=True))
    return Signature(
        inputs=_specs(tensors), given_dtypes=tuple(dtype_name(tensor.dtype) for tensor in before), values=tuple(plain),
        parameters=_specs(state), made_dtypes=tuple(dtype_name(made[name].dtype) for name in state),
        outputs=_specs(parts.tensors), returned=parts.structure,
    )  # fmt: skip


def _state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _specs(tensors: dict[str, torch.Tensor]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name=name, shape=tuple(tensor.shape), dtype=dtype_name(tensor.dtype))
        for name, tensor in tensors.items()
    )
