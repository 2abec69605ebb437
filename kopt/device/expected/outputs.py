"""Run the reference once, and define the contract of its result: structure, shapes, dtypes, device and strides.

The result of a call is its output, one tensor or several in tuples, lists and dictionaries, and the arguments that the
call changes in place.  `output[1]` and `input residual` are names of its tensors.  Works on whatever device the tensors
are on, so that the judge without a GPU and the referee on one share it.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import torch
from torch.utils._pytree import tree_map_only

from kopt.device.draws.distributions import Case
from kopt.device.reference import setup
from kopt.device.reference.contract import tensor_arguments
from kopt.device.reference.forward import call
from kopt.device.reference.layout import copied_inputs, dtype_name, same_bits, same_strides
from kopt.device.reference.tree import taken_apart
from kopt.errors import ProblemError
from kopt.model.problem import Layout, Problem

COUNTER = "num_batches_tracked"
"""Last part of the name of the buffers in which torch counts calls: a kernel may change them, and need not."""


@dataclass(frozen=True)
class Described:
    """A tensor without its values."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    """Elements."""
    dtype: str
    """E.g. `bfloat16`."""
    device: str
    """E.g. `cpu`."""


@dataclass(frozen=True)
class DescribedOutput:
    """An output without the values of its tensors."""

    structure: str
    """As `kopt.device.reference.tree` writes it; `Tensor` is `torch.Tensor` itself, no subclass."""
    tensors: tuple[Described, ...] = ()
    """The tensors, in order of the structure."""
    same: tuple[str, ...] | None = None
    """For each tensor the name of the argument that it is, or empty; None where that was not looked at."""


@dataclass(frozen=True)
class Contract:
    """Exact shape, dtype, device and strides that a tensor of the output must have."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: str
    name: str = "output"
    stride: tuple[int, ...] | None = None
    """Elements; None for any."""

    def violation(self, tensor: Described) -> str:
        """Describe what is wrong with a tensor; empty when nothing is wrong."""
        required = (self.shape, dtype_name(self.dtype), self.device)
        actual = (tensor.shape, tensor.dtype, tensor.device)
        for name, wanted, got in zip(("shape", "dtype", "device"), required, actual, strict=True):
            if wanted != got:
                return f"the {self.name}'s {name} must be {wanted}, got {got}"
        if self.stride is None or same_strides(self.shape, self.stride, tensor.stride):
            return ""
        return (
            f"the {self.name}'s strides must be {self.stride}, as PyTorch gives them, got {tensor.stride}; "
            "declare `layout: any` in problem.yaml if strides do not matter"
        )


@dataclass(frozen=True)
class ResultContract:
    """The contract of a call's result."""

    structure: str
    """Structure of the output."""
    outputs: tuple[Contract, ...]
    """Contracts of the output's tensors, in order."""
    arguments: tuple[Contract, ...] = ()
    """Shapes and dtypes of the arguments that the reference changes."""
    same: tuple[str, ...] = ()
    """For each tensor of the output the changed argument that it is, or empty."""

    @property
    def tensors(self) -> tuple[Contract, ...]:
        """Contracts of the output's tensors, then of the changed arguments."""
        return (*self.outputs, *self.arguments)

    @property
    def changed(self) -> tuple[str, ...]:
        """Names of the arguments that the reference changes."""
        return tuple(argument.name for argument in self.arguments)

    def violation(self, output: DescribedOutput) -> str:
        """Describe what is wrong with an output's structure or tensors; empty when nothing is wrong."""
        if output.structure != self.structure or len(output.tensors) != len(self.outputs):
            required = "one torch.Tensor, no subclass" if self.structure == "Tensor" else self.structure
            return f"the output must be {required}, got {_spelled(output.structure)}"
        pairs = zip(self.outputs, output.tensors, strict=True)
        broken = next((text for contract, tensor in pairs if (text := contract.violation(tensor))), "")
        others = zip(self.outputs, self.same, output.same if output.same is not None else self.same, strict=False)
        copied = [
            f"the {one.name} must be {wanted} itself, no copy" for one, wanted, got in others if wanted not in ("", got)
        ]
        return broken or next(iter(copied), "")


def _spelled(structure: str) -> str:
    kinds = {"(": "the tuple ", "[": "the list ", "{": "the dict "}
    return kinds.get(structure[:1], "") + structure


@dataclass(frozen=True)
class Result:
    """The result of one call of the reference."""

    structure: str
    """Structure of the output."""
    outputs: dict[str, torch.Tensor]
    """Tensors of the output by name."""
    arguments: dict[str, torch.Tensor] = field(default_factory=dict)
    """Arguments that the call changed, as it left them, by name."""
    same: tuple[str, ...] = ()
    """For each tensor of the output the changed argument that it is, or empty."""

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """Tensors of the output, then the changed arguments."""
        return (*self.outputs.values(), *self.arguments.values())


def described(output: object, exact: tuple[type, ...] = (torch.Tensor,)) -> DescribedOutput:
    """Describe an output; a type other than the exact ones of a tensor is named with its module."""
    parts = taken_apart(output, "output", exact)
    return DescribedOutput(parts.structure, tuple(described_tensor(tensor) for tensor in parts.tensors.values()))


def described_tensor(tensor: torch.Tensor) -> Described:
    """Describe a tensor."""
    return Described(tuple(tensor.shape), tuple(tensor.stride()), dtype_name(tensor.dtype), tensor.device.type)


def same_arguments(tensors: Iterable[torch.Tensor], arguments: Mapping[str, torch.Tensor]) -> tuple[str, ...]:
    """Return for each tensor of an output the name of the argument whose memory it is, element by element, or empty."""
    places = {_memory(argument): name for name, argument in reversed(list(arguments.items())) if argument.numel()}
    return tuple(places.get(_memory(tensor), "") for tensor in tensors)


def _memory(tensor: torch.Tensor) -> tuple[object, ...]:
    strides = tuple(step for size, step in zip(tensor.shape, tensor.stride(), strict=True) if size > 1)
    return tensor.data_ptr(), tuple(tensor.shape), strides, tensor.dtype


def may_change(name: str, changed: Collection[str]) -> bool:
    """Return whether a call may change an argument: those that the reference changes, and torch's counters of calls."""
    return name in changed or (name.startswith("buffer ") and name.endswith(COUNTER))


STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Names of the buffers that normalisations change in training mode."""

EVALUATED = (
    ": kopt calls the model in evaluation mode, in which a normalisation reads its running statistics and leaves them; "
    "a problem that means training mode says self.train() in Model.__init__ or forward"
)


def changed_reason(name: str) -> str:
    """Write the rejection of a changed argument."""
    statistics = name.startswith("buffer ") and name.rpartition(".")[2] in STATISTICS
    return f"{name} is changed by the candidate, which the problem does not allow{EVALUATED if statistics else ''}"


def run_reference(problem: Problem, case: Case) -> Result:
    """Return the result of the eager model in the problem's own dtype, on copies of model and inputs.

    Arguments count as changed that the problem declares so (`mutates`), or that the call changes.

    Raises:
        ProblemError: the reference returns something else than tensors and plain values, or has no result.
    """
    model, inputs = copy.deepcopy(case.model), copied_inputs(case.inputs)
    before = tensor_arguments(model, inputs)
    versions = {name: tensor._version for name, tensor in before.items()}
    output = call(model, inputs)
    originals = tensor_arguments(case.model, case.inputs)
    after = tensor_arguments(model, inputs)
    declared = tuple(f"input {name}" for name in problem.mutates)
    changed = [
        name
        for name, tensor in after.items()
        if name in originals
        and (_is_part(name, declared) or tensor._version != versions[name] or not same_bits(tensor, originals[name]))
    ]
    result = _checked(result_of(output, after, changed))
    return replace(result, same=same_arguments(result.outputs.values(), result.arguments))


def _is_part(name: str, declared: tuple[str, ...]) -> bool:
    return any(name == one or name.startswith(f"{one}[") for one in declared)


def run_model(model: torch.nn.Module, inputs: Sequence[Any], changed: Collection[str] = ()) -> Result:
    """Return a model's result on these very inputs, which the model may change.

    Args:
        model: the model.
        inputs: its inputs.
        changed: names of the arguments that count as changed.
    """
    output = call(model, inputs)
    return result_of(output, tensor_arguments(model, inputs), changed)


def result_of(
    output: object, arguments: Mapping[str, torch.Tensor] = MappingProxyType({}), changed: Collection[str] = ()
) -> Result:
    """Return the result of a call.

    Args:
        output: its output.
        arguments: the tensors of its arguments after the call, by name.
        changed: names of the arguments that count as changed.

    Raises:
        ProblemError: the output holds something else than tensors and plain values.
    """
    parts = taken_apart(output, "output")
    if parts.unknown:
        raise ProblemError(
            f"the reference returns a {parts.unknown[0]}: it must return tensors, in tuples, lists or dictionaries"
        )
    compared = {name: arguments[name] for name in arguments if name in changed and not name.endswith(COUNTER)}
    return Result(parts.structure, parts.tensors, compared)


def _checked(result: Result) -> Result:
    """Return a result that can be compared.

    Raises:
        ProblemError: it cannot.
    """
    for name, tensor in (*result.outputs.items(), *result.arguments.items()):
        if tensor.is_complex() or tensor.is_quantized or tensor.layout is not torch.strided:
            kind = dtype_name(tensor.dtype) if tensor.layout is torch.strided else f"{tensor.layout}"
            raise ProblemError(f"the reference's {name} is {kind}, which cannot be compared: return plain real tensors")
    if not result.tensors:
        raise ProblemError(
            f"the reference returns {result.structure} and changes no input: it must return a tensor, or tensors in "
            "tuples, lists or dictionaries, or change a tensor that it is given"
        )
    return result


def result_contract(problem: Problem, case: Case, result: Result) -> ResultContract:
    """Return the contract that the result of the eager model sets."""
    strides = _strides(problem, case, result)
    outputs = [
        Contract(tuple(tensor.shape), tensor.dtype, tensor.device.type, name, stride)
        for (name, tensor), stride in zip(result.outputs.items(), strides, strict=True)
    ]
    arguments = [
        Contract(tuple(tensor.shape), tensor.dtype, tensor.device.type, name)
        for name, tensor in result.arguments.items()
    ]
    return ResultContract(result.structure, tuple(outputs), tuple(arguments), result.same)


def _strides(problem: Problem, case: Case, result: Result) -> list[tuple[int, ...] | None]:
    """Return the strides that the output's tensors must have; None for any.

    Any will do for an expanded output, whose elements lie in one place.  Where an output is not contiguous, torch may
    have chosen its layout for one device only: then any will do, too.
    """
    tensors = list(result.outputs.values())
    if problem.layout is Layout.ANY:
        return [None] * len(tensors)
    strides = [None if _is_expanded(tensor) else tuple(tensor.stride()) for tensor in tensors]
    if all(tensor.is_contiguous() for tensor in tensors):
        return list(strides)
    elsewhere = _meta_outputs(problem, case)
    if len(elsewhere) != len(tensors):
        return list(strides)
    return [
        stride if stride is not None and same_strides(tensor.shape, stride, other.stride()) else None
        for tensor, stride, other in zip(tensors, strides, elsewhere, strict=True)
    ]


def _is_expanded(tensor: torch.Tensor) -> bool:
    return any(size > 1 and step == 0 for size, step in zip(tensor.shape, tensor.stride(), strict=True))


def _meta_outputs(problem: Problem, case: Case) -> list[torch.Tensor]:
    """Return the output's tensors of the reference on meta tensors; empty where it cannot run on them."""

    def moved(tensor: torch.Tensor) -> torch.Tensor:
        offset, stride = int(tensor.storage_offset()), tensor.stride()
        base = torch.empty(tensor.untyped_storage().nbytes() // tensor.itemsize, dtype=tensor.dtype, device="meta")
        return base.as_strided(tensor.shape, stride, offset)

    try:
        with torch.device("meta"):
            model = setup.make_model(case.reference, problem)
            output = call(model, [tree_map_only(torch.Tensor, moved, value) for value in case.inputs])
    except Exception:  # noqa: BLE001 - a reference may do what meta tensors cannot
        return []
    return list(taken_apart(output, "output").tensors.values())
