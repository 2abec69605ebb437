"""Pretend to a candidate that there is a GPU: answer what it asks torch and Triton about its device.

Tensors lie in CPU memory and say that they are on `cuda:0`; a tensor made for that device is made in CPU memory.
`Any` in signatures of this module: torch passes functions, devices and arguments untyped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import triton
from torch.overrides import TorchFunctionMode

from kopt.device.build import stub_gpu
from kopt.device.interpret.guard import FEW
from kopt.device.interpret.session import Session
from kopt.device.reference.rejection import Rejected
from kopt.model.build import Phase
from kopt.model.device import Device

DEVICE = Device(
    name="NVIDIA H100 80GB HBM3",
    arch=90,
    sm_count=3,
    shared_bytes_per_block=232448,
    shared_bytes_per_sm=233472,
    l2_bytes=50 << 20,
    memory_bytes=80 << 30,
    sm_clock_mhz=1980,
    copy_gb_s=3027.0,
    vector_tflop_s=60.0,
    measured=False,
)
"""The device that candidates see: an H100 with so few multiprocessors that loops of persistent programs go round."""
FULL_DEVICE, SINGLE_DEVICE = (DEVICE.model_copy(update={"sm_count": count}) for count in (132, 1))
"""Devices that a candidate which asks sees in further calls, so that it cannot tell by the number where it runs."""

MOVED = "data is moved from the device to the host"


class CudaFacade(TorchFunctionMode):
    """While active, CPU tensors say that they are on CUDA, and CUDA tensors are made in CPU memory."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._answers: dict[str, Callable[..., Any]] = {**_ANSWERS, "numpy": self._to_host, "__array__": self._to_host}
        self._session = session

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Answer one call of a torch function, or run it on CPU devices."""
        answer = self._answers.get(_name(func))
        if answer is not None:
            return answer(*args)
        named = {key: _on_cpu(value) for key, value in (kwargs or {}).items()}
        return func(*map(_on_cpu, args), **named)

    def _to_host(self, tensor: torch.Tensor, *rest: Any) -> Any:
        """Return the NumPy array where the interpreter moves arguments or for one element; refuse any other move."""
        if self._session.place == "interpreter" or tensor.numel() <= 1:
            return tensor.numpy()
        raise Rejected(Phase.FALLBACK, MOVED)


def _name(func: Callable[..., Any]) -> str:
    """Name a function of torch: `get device` for the getter of `Tensor.device`, else its own name."""
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


def _to_list(tensor: torch.Tensor) -> Any:
    """Return a small tensor as a list, since a few numbers may be a constant of the host; refuse a larger one."""
    if tensor.numel() <= FEW:
        return tensor.tolist()
    raise Rejected(Phase.FALLBACK, MOVED)


def _no_exchange(tensor: torch.Tensor, *rest: Any) -> Any:
    raise Rejected(Phase.FALLBACK, MOVED)


_ANSWERS: dict[str, Callable[..., Any]] = {
    "get device": lambda tensor: torch.device("cuda", 0),
    "get is_cuda": lambda tensor: True,
    "get is_cpu": lambda tensor: False,
    "get_device": lambda tensor: 0,
    "cuda": lambda tensor, *rest: tensor,
    "__dlpack__": _no_exchange,
    "tolist": _to_list,
    "record_stream": lambda tensor, *rest: None,
}


def install(session: Session, device: Device = DEVICE) -> None:
    """Answer the queries of `torch.cuda` and Triton's driver for a pretended device, and note that they are made."""
    driver = stub_gpu.StubDriver(device)

    def noted(answer: Callable[..., Any]) -> Callable[..., Any]:
        def asked(*args: Any, **named: Any) -> Any:
            session.asks_for_device = True
            return answer(*args, **named)

        return asked

    for name, answer in stub_gpu.device_answers(device).items():
        setattr(torch.cuda, name, noted(answer) if name == "get_device_properties" else answer)
    driver.utils.get_device_properties = noted(driver.utils.get_device_properties)
    triton.runtime.driver.set_active(driver)
