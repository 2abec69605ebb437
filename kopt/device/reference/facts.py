"""Count what a problem must move and compute, by tracing its reference on meta tensors at full size.

Tracing needs neither a GPU nor memory.  The reference is trusted code and runs in this process.  `Any`: torch passes
operations, their arguments and results untyped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from kopt.device.reference import setup
from kopt.device.reference.contract import input_names
from kopt.device.reference.dispatch import DispatchMode
from kopt.device.reference.forward import call
from kopt.errors import ProblemError
from kopt.model.problem import EagerOp, Problem, ProblemFacts, TensorSpec, Workload, WorkloadFacts

FREE = {"_unsafe_view", "_reshape_alias", "detach", "alias", "lift_fresh", "empty", "empty_like", "empty_strided"}
"""Operations that move no bytes though torch does not mark them as views."""

MOVES_ONLY = {"_to_copy", "clone", "copy_", "copy", "fill", "fill_", "zeros", "ones", "full", "cat", "constant_pad_nd"}
"""Operations that move bytes and compute nothing."""

REDUCTIONS = {"sum", "mean", "amax", "amin", "max", "min", "var", "var_mean", "std", "argmax", "argmin", "prod"}
"""Operations that count one floating-point operation per element of the input, not of the output."""

PER_OUTPUT = {"_softmax": 5, "_log_softmax": 5, "native_layer_norm": 8, "native_group_norm": 8, "native_batch_norm": 8}
"""Floating-point operations per output element of composed kernels: subtract, exponential, add, divide and so on."""


def problem_facts(problem: Problem) -> ProblemFacts:
    """Return the facts of every main workload of a problem.

    Raises:
        ProblemError: the reference cannot be set up or traced, or does not return one tensor.
    """
    return ProblemFacts(dtype=problem.dtype, workloads=tuple(workload_facts(problem, w) for w in problem.main))


def workload_facts(problem: Problem, workload: Workload) -> WorkloadFacts:
    """Return the facts of one workload.

    Raises:
        ProblemError: as for `problem_facts`.
    """
    try:
        with torch.device("meta"):
            reference = setup.load_reference(problem, workload)
            model = setup.make_model(reference, problem)
            inputs = setup.make_inputs(reference, problem)
            with EagerOps() as eager:
                output = call(model, inputs)
    except ProblemError as error:
        where = f"{problem.name}, workload {workload.name}"
        raise ProblemError(f"{where}: the reference cannot be traced: {error}") from error
    outputs = _tensors(inputs if output is None else output)
    if not outputs:
        raise ProblemError(f"{problem.name}: the reference returns {type(output).__name__}, not a tensor")
    return WorkloadFacts(
        workload=workload.name,
        inputs=_specs(zip(input_names(model, len(inputs)), inputs, strict=True)),
        parameters=_specs([*model.named_parameters(), *model.named_buffers()]),
        output=_spec("output", outputs[0]),
        eager_ops=tuple(eager.operations),
    )


class EagerOps(DispatchMode):
    """Collect the aten operations that move or compute something."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not type it
        self.operations: list[EagerOp] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and count it."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if isinstance(func, torch._ops.OpOverload) and not (func.is_view or _base(func) in FREE or not _tensors(out)):
            self.operations.append(_op(func, args, kwargs, out))
        return out


def _op(func: torch._ops.OpOverload, args: Any, kwargs: Any, out: Any) -> EagerOp:
    from torch.utils.flop_counter import (
        flop_registry,  # here, because it imports Triton, and a judge chooses Triton's mode first
    )

    read, written = _tensors((args, kwargs)), _tensors(out)
    formula = flop_registry.get(func.overloadpacket)
    return EagerOp(
        name=str(func),
        bytes=sum(tensor.numel() * tensor.element_size() for tensor in [*read, *written]),
        matmul_flops=int(formula(*args, **kwargs, out_val=out)) if formula else 0,
        vector_flops=0 if formula else _vector_flops(_base(func), args, read, written),
    )


def _vector_flops(name: str, args: Sequence[object], read: list[torch.Tensor], written: list[torch.Tensor]) -> int:
    outputs = written[0].numel() if written else 0
    if name in MOVES_ONLY:
        return 0
    if name in REDUCTIONS:
        return max((tensor.numel() for tensor in read), default=0)
    if "_pool" in name and len(args) > 1 and isinstance(args[1], list | tuple):
        return outputs * prod(args[1])
    return outputs * PER_OUTPUT.get(name, 1)


def _tensors(values: object) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]


def _base(func: torch._ops.OpOverload) -> str:
    return str(func.overloadpacket.__name__)


def _specs(named: Iterable[tuple[str, object]]) -> tuple[TensorSpec, ...]:
    return tuple(_spec(name, tensor) for name, tensor in named if isinstance(tensor, torch.Tensor))


def _spec(name: str, tensor: torch.Tensor) -> TensorSpec:
    return TensorSpec(name=name, shape=tuple(tensor.shape), dtype=dtype_name(tensor.dtype))


def dtype_name(dtype: torch.dtype) -> str:
    """Return `bfloat16` for `torch.bfloat16`."""
    return str(dtype).removeprefix("torch.")
