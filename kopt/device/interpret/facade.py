"""A GPU that is not there: what a candidate asks torch and Triton about its device, answered for the interpreter.

Tensors lie in CPU memory and say that they are on `cuda:0`; whoever asks for a device of that kind gets CPU memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from kopt.device.reference.rejection import Rejected
from kopt.model.build import Phase
from kopt.model.device import Device

DEVICE = Device(
    name="NVIDIA H100 80GB HBM3",
    arch=90,
    sm_count=8,
    shared_bytes_per_block=232448,
    shared_bytes_per_sm=233472,
    l2_bytes=50 << 20,
    memory_bytes=80 << 30,
    sm_clock_mhz=1980,
    copy_gb_s=3027.0,
    vector_tflop_s=60.0,
    measured=False,
)
"""What candidates are told: an H100 with few multiprocessors, so that a persistent grid is quick to interpret."""


class CudaFacade(TorchFunctionMode):
    """While active, CPU tensors say that they are on CUDA, and CUDA tensors are made in CPU memory."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        answer = _ANSWERS.get(_name(func))
        if answer is not None:
            return answer(*args)
        named = {key: _on_cpu(value) for key, value in (kwargs or {}).items()}
        return func(*map(_on_cpu, args), **named)


def _name(func: Callable[..., Any]) -> str:
    """`device` for the getter of `Tensor.device`, else the function's own name with its owner's."""
    name = getattr(func, "__name__", "")
    if name == "__get__":
        return f"get {getattr(getattr(func, '__self__', None), '__name__', '')}"
    return str(name)


def _on_cpu(value: Any) -> Any:
    if isinstance(value, torch.device):
        return torch.device("cpu") if value.type == "cuda" else value
    if isinstance(value, str) and (value == "cuda" or value.startswith("cuda:")):
        return "cpu"
    return value


def _to_host(tensor: torch.Tensor, *rest: Any) -> Any:
    """What moves data to the host is refused, as in the CPU stage; the interpreter's own moves are not."""
    from kopt.device.interpret.session import SESSION

    if SESSION.place == "interpreter" or tensor.numel() <= 1:
        return tensor.numpy()
    raise Rejected(Phase.FALLBACK, MOVED)


def _to_list(tensor: torch.Tensor) -> Any:
    """As above; a few numbers may be a constant of the host's."""
    from kopt.device.interpret.guard import FEW

    if tensor.numel() <= FEW:
        return tensor.tolist()
    raise Rejected(Phase.FALLBACK, MOVED)


def _no_exchange(tensor: torch.Tensor, *rest: Any) -> Any:
    raise Rejected(Phase.FALLBACK, MOVED)


MOVED = "data is moved from the device to the host"


_ANSWERS: dict[str, Callable[..., Any]] = {
    "get device": lambda tensor: torch.device("cuda", 0),
    "get is_cuda": lambda tensor: True,
    "get is_cpu": lambda tensor: False,
    "get_device": lambda tensor: 0,
    "cuda": lambda tensor, *rest: tensor,
    "numpy": _to_host,
    "__array__": _to_host,
    "__dlpack__": _no_exchange,
    "tolist": _to_list,
    "record_stream": lambda tensor, *rest: None,
}


@contextlib.contextmanager
def facade() -> Iterator[None]:
    """Tensors made and asked inside are on a GPU, as far as they tell."""
    with CudaFacade():
        yield


def install() -> None:
    """Answer torch's and Triton's questions about the device in this process, for good; imports Triton."""
    import triton

    from kopt.device.build import stub_gpu as stub

    for name, answer in stub._answers(DEVICE).items():
        setattr(torch.cuda, name, answer)
    triton.runtime.driver.set_active(stub.StubDriver(DEVICE))
