"""Set up a reference on a pretended GPU: it runs on meta tensors, and what it makes appears as fake CUDA tensors.

A torch built without CUDA cannot run all of a reference on fake CUDA tensors: `torch.tensor(2.0)` asks for a real
device.  On meta tensors everything runs that needs no values.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.utils._pytree import tree_map

from kopt.device.expected.outputs import Result, run_model
from kopt.device.reference.layout import copied_inputs
from kopt.device.reference.setup import load_reference, make_inputs, make_model
from kopt.model.problem import Problem, Workload


def prepare_fake(
    problem: Problem, workload: Workload, device: torch.device
) -> tuple[ModuleType, torch.nn.Module, tuple[Any, ...], Result]:
    """Return reference, model, inputs and result of the model, with tensors of the active `FakeTensorMode`.

    Raises:
        ProblemError: the reference raises; one line.
    """
    with unset_fake_temporarily(), torch.device("meta"):
        reference = load_reference(problem, workload)
        model = make_model(reference, problem, seed=0)
        inputs = make_inputs(reference, problem, seed=0)
        result = run_model(model, copied_inputs(inputs))
    fakes = _Fakes(device)
    for module in model.modules():
        for values in (module._parameters, module._buffers, vars(module)):
            for name, value in list(values.items()):
                if isinstance(value, torch.Tensor):
                    values[name] = fakes.of(value)
    for name, value in list(vars(reference).items()):
        if isinstance(value, torch.Tensor):
            setattr(reference, name, fakes.of(value))
    fake_inputs: tuple[Any, ...] = tree_map(fakes.of, inputs)
    outputs, arguments = (
        {name: fakes.of(tensor) for name, tensor in named.items()} for named in (result.outputs, result.arguments)
    )
    return reference, model, fake_inputs, Result(result.structure, outputs, arguments)


class _Fakes:
    """Fake tensors on a device that stand for meta tensors; tensors that share memory go on sharing it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._made: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._memory: dict[int, torch.Tensor] = {}

    def of(self, value: Any) -> Any:
        """Return the fake tensor for a meta tensor; any other value as it is."""
        if not (isinstance(value, torch.Tensor) and value.is_meta):
            return value
        if id(value) not in self._made:
            fake = self._viewed(value)
            made = torch.nn.Parameter(fake, requires_grad=False) if isinstance(value, torch.nn.Parameter) else fake
            self._made[id(value)] = (made, value)
        return self._made[id(value)][0]

    def _viewed(self, value: torch.Tensor) -> torch.Tensor:
        storage = value.untyped_storage()
        elements = storage.nbytes() // value.element_size()
        memory = self._memory.get(storage._cdata)
        if memory is None:
            memory = torch.empty(elements, dtype=value.dtype, device=self._device)
            self._memory[storage._cdata] = memory
        flat = memory if memory.dtype is value.dtype else memory.view(value.dtype)
        return flat.as_strided(value.shape, value.stride(), value.storage_offset())
