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
INTEGERS = (torch.int16, torch.int32, torch.int64)
"""Types of indexes."""
SPLITS = ("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes")
"""Operations that cut a tensor into pieces; chunk and tensor_split become these or slices."""
WINDOWS = ("conv", "pool", "upsample", "unfold", "im2col", "col2im", "pad", "grid_sampler")
"""Parts of the names of operations that move windows over a tensor, or make room for them."""
PRODUCTS = ("mm", "bmm", "addmm", "baddbmm")
"""Operations that multiply matrices."""
MOST_ELEMENTS, MOST_FLOPS = 1 << 27, 5e10
"""Elements of all tensors, and operations of products, that a CPU makes in some seconds."""
USUAL_SMALL = 1 << 15
"""Most elements in the small workloads of the shipped problems."""


@dataclass(frozen=True)
class Trial:
    """Shapes that a reference makes with one choice of its sizes."""

    inputs: tuple[Shape, ...]
    parameters: tuple[Shape, ...]
    made: tuple[Shape, ...]
    """Shapes of the operations' results, in order, and of the outputs at the end."""
    pieces: tuple[bool, ...]
    """Whether the pieces are equally long, for each tensor and dimension that the reference cuts into pieces."""
    contracted: frozenset[int]
    """Lengths over which the reference multiplies batches of matrices."""
    windowed: bool
    """Whether the reference moves windows over its inputs."""
    chosen_from: frozenset[int]
    """Lengths of the rows of which the reference takes the largest few."""

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
        pieces=made.pieces,
        contracted=frozenset(made.contracted),
        windowed=made.windowed,
        chosen_from=frozenset(made.chosen_from),
    )


def try_values(problem: Problem, constants: Mapping[str, int]) -> None:
    """Run the reference on the CPU with some of its constants replaced; they have to be small.

    Raises:
        ProblemError: the reference does not run with these constants.
    """
    reference = setup.load_reference(problem, Workload(name="trial", constants=dict(constants)))
    call(setup.make_model(reference, problem), setup.make_inputs(reference, problem, seed=0))


def try_own_values(problem: Problem) -> None:
    """Run the reference on the CPU at its own sizes, where that takes some seconds at most; else do nothing.

    Raises:
        ProblemError: the reference does not run with the inputs that it is given.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        reference = setup.load_reference(problem, Workload(name="trial"))
        model = setup.make_model(reference, problem)
        inputs = setup.make_inputs(reference, problem)
        with FlopCounterMode(display=False) as counter, _Shapes() as made:
            call(model, inputs)
    tensors = [*map(tuple, _shapes([inputs, list(model.state_dict().values())])), *made.shapes]
    if sum(map(prod, tensors)) <= MOST_ELEMENTS and counter.get_total_flops() <= MOST_FLOPS:
        try_values(problem, {})


def has_integers(problem: Problem) -> bool:
    """Return whether an input of the reference holds integers that may be indexes.

    Raises:
        ProblemError: the reference raises.
    """
    return any(dtype in INTEGERS for dtype in _given_dtypes(problem))


def floating_dtypes(problem: Problem) -> tuple[str, ...]:
    """Return the floating-point dtypes in which `get_inputs` makes tensors, each once.

    Raises:
        ProblemError: the reference raises.
    """
    given = [dtype for dtype in _given_dtypes(problem) if dtype.is_floating_point and dtype.itemsize > 1]
    return tuple(dict.fromkeys(str(dtype).removeprefix("torch.") for dtype in given))


def is_mixed(problem: Problem) -> bool:
    """Return whether the reference makes floating-point inputs, or parameters and buffers, in unlike dtypes.

    Raises:
        ProblemError: the reference raises.
    """
    with torch.device("meta"):
        reference = setup.load_reference(problem, problem.main[0])
        model = setup.make_model(reference, problem, as_given=True)
        inputs = tensors_of(setup.given_inputs(reference, problem))
    return any(
        len({tensor.dtype for tensor in tensors if setup.has_problem_dtype(tensor)}) > 1
        for tensors in (inputs, [*model.parameters(), *model.buffers()])
    )


def given_dtype(problem: Problem) -> Dtype:
    """Return the dtype of the first floating-point tensor of `get_inputs`; float32 where kopt has no such dtype.

    Raises:
        ProblemError: the reference raises.
    """
    known = {getattr(torch, dtype.value): dtype for dtype in Dtype}
    floating = [dtype for dtype in _given_dtypes(problem) if dtype.is_floating_point and dtype.itemsize > 1]
    return known.get(floating[0], Dtype.FLOAT32) if floating else Dtype.FLOAT32


def _given_dtypes(problem: Problem) -> list[torch.dtype]:
    """Return the dtypes of the tensors that `get_inputs` makes."""
    with torch.device("meta"):
        reference = setup.load_reference(problem, problem.main[0])
        return [tensor.dtype for tensor in tensors_of(setup.given_inputs(reference, problem))]


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
    """Collect the shapes of the operations' results, and how tensors are cut into pieces."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not type it
        self.shapes: list[Shape] = []
        self.contracted: set[int] = set()
        self.windowed = False
        self.chosen_from: set[int] = set()
        self._splits: list[bool] = []
        self._slices: dict[tuple[object, ...], set[int]] = {}
        self._kept: list[torch.Tensor] = []
        """Tensors that are cut: while they live, no other one has their identity."""

    @property
    def pieces(self) -> tuple[bool, ...]:
        """Whether the pieces are equally long, for each tensor and dimension that is cut into several."""
        return (*self._splits, *(len(lengths) < 2 for lengths in self._slices.values()))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        _refuse(name, args)
        out = func(*args, **(kwargs or {}))
        self.shapes += _shapes(out)
        self.windowed |= any(word in name for word in WINDOWS)
        if name == "bmm" or "scaled_dot_product" in name:
            self.contracted.add(args[0].shape[-1])
        elif name == "baddbmm":
            self.contracted.add(args[1].shape[-1])
        elif name == "topk" and args[0].dim():
            self.chosen_from.add(args[0].shape[args[2] if len(args) > 2 else -1])
        elif name in SPLITS:
            self._splits.append(len(set(_shapes(out))) < 2)
        elif name == "slice":
            self._note_slice(args[0], out, args[1] if len(args) > 1 else 0)
        return out

    def _note_slice(self, whole: torch.Tensor, piece: torch.Tensor, dim: int) -> None:
        """Note the length of a slice, but of one that is all of its dimension."""
        if whole.shape == piece.shape:
            return
        base = whole if whole._base is None else whole._base
        self._kept.append(base)
        key = (id(base), whole.storage_offset(), *whole.shape, *whole.stride(), dim % whole.dim())
        self._slices.setdefault(key, set()).add(piece.shape[dim])


def _refuse(name: str, args: Sequence[Any]) -> None:
    """Raise where an operation raises on every device, but not on meta tensors."""
    if name in PRODUCTS and len({tensor.dtype for tensor in args[-2:] if isinstance(tensor, torch.Tensor)}) > 1:
        raise RuntimeError(f"expected m1 and m2 to have the same dtype, but got: {args[-2].dtype} != {args[-1].dtype}")
    if name != "convolution":
        return
    x, weight, bias, transposed, groups = *args[:3], args[6], args[8]
    if transposed and x.shape[1] != weight.shape[0]:
        raise RuntimeError(
            f"a transposed convolution with a weight of size {list(weight.shape)} takes {weight.shape[0]} channels, "
            f"but its input of size {list(x.shape)} has {x.shape[1]}"
        )
    channels = weight.shape[1] * groups if transposed else weight.shape[0]
    if bias is not None and bias.shape != (channels,):
        raise RuntimeError(f"a convolution with {channels} channels of results got a bias of size {list(bias.shape)}")


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
