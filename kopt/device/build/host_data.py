"""Make tensors of Python numbers on the host and copy them to their device, in two steps that a judge sees.

`torch.tensor([1, 2], device="cuda")` does both inside torch: no operation is dispatched, so a recording would miss what
the tensor holds, and a pretended device could not hold it.  `Any`: arguments are the candidate's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

MAKERS = (torch.tensor, torch.as_tensor, torch.asarray)
"""Functions that make a tensor of Python numbers."""
_INDEXING = (torch.Tensor.__getitem__, torch.Tensor.__setitem__)


class HostData(TorchFunctionMode):
    """Split each call that makes a device tensor of Python numbers into one that makes it on the host, and a copy."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call a function of torch; numbers of Python become a tensor on the host first."""
        kwargs = kwargs or {}
        if func is torch.Tensor.new_tensor and len(args) == 2 and not isinstance(args[1], torch.Tensor):
            like = {"device": args[0].device, "dtype": args[0].dtype}
            return self._made(torch.tensor, args[1:], like | {k: v for k, v in kwargs.items() if v is not None})
        if func in _INDEXING and len(args) > 1:
            return func(args[0], _index_on_host(args[1]), *args[2:], **kwargs)
        data = args[0] if args else kwargs.get("data", kwargs.get("obj"))
        if func in MAKERS and kwargs.get("device") is not None and not isinstance(data, torch.Tensor):
            return self._made(func, args, kwargs)
        return func(*args, **kwargs)

    def _made(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
        """Make a tensor on the host and copy it to its device."""
        gradient = bool(kwargs.get("requires_grad"))
        on_host = {name: value for name, value in kwargs.items() if name not in ("device", "requires_grad")}
        made = self.moved(func(*args, **on_host, device=torch.device("cpu")), kwargs["device"])
        return made.requires_grad_() if gradient else made

    def moved(self, tensor: torch.Tensor, device: Any) -> torch.Tensor:
        """Copy a tensor from the host to a device."""
        return tensor.to(device)


def _index_on_host(index: Any) -> Any:
    """Return an index with tensors on the host in the place of lists of numbers."""
    if isinstance(index, list):
        return torch.tensor(index, device="cpu")
    return tuple(map(_index_on_host, index)) if type(index) is tuple else index
