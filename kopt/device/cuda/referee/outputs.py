"""Make the memory of results, which starts as NaN, and read small results from it, all at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from kopt.device.cuda.sharing import ipc
from kopt.device.cuda.sharing.ipc import Owned
from kopt.device.expected.expected_by_rows import HOST_BYTES
from kopt.device.expected.outputs import Contract


def own_outputs(tensors: Sequence[Contract]) -> list[Owned]:
    """Make shared memory, full of NaN, for the tensors of a result."""
    owned = [ipc.share(torch.empty(one.shape, dtype=one.dtype, device="cuda")) for one in tensors]
    for memory in owned:
        fill_with_nan(memory.tensor)
    torch.cuda.empty_cache()
    return owned


def fill_with_nan(tensor: torch.Tensor) -> None:
    """Fill a contiguous tensor with NaN, whatever its dtype."""
    tensor.view(-1).view(torch.uint8).fill_(0xFF) if tensor.numel() else tensor


def on_host(tensors: Sequence[torch.Tensor]) -> dict[int, torch.Tensor]:
    """Copy the small ones of contiguous tensors to the host, all at once; return the copies by identity."""
    small = [tensor for tensor in tensors if 0 < tensor.nbytes <= HOST_BYTES]
    if not small:
        return {}
    flat = torch.cat([tensor.reshape(-1).view(torch.uint8) for tensor in small]).cpu()
    pieces = flat.split([tensor.nbytes for tensor in small])
    return {
        id(tensor): piece.clone().view(tensor.dtype).reshape(tensor.shape)
        for tensor, piece in zip(small, pieces, strict=True)
    }
