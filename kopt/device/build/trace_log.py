"""Log what one traced call of an entry point does."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

import torch

from kopt.device.reference.layout import dtype_name
from kopt.device.reference.rejection import Rejected
from kopt.model.build import HostOp, Launch, Phase
from kopt.model.language import Language


@dataclass
class TraceLog:
    """Launches and host operations in order, and the compiled code that they name by digest."""

    language: Language = "triton"
    """Language of the kernel that is traced."""
    is_address: Callable[[int], bool] = lambda number: False
    """Whether a number is the address of a tensor."""
    launches: list[Launch] = field(default_factory=list)
    host_ops: list[HostOp] = field(default_factory=list)
    ptx: dict[str, str] = field(default_factory=dict)
    """PTX by digest."""
    cubin: dict[str, bytes] = field(default_factory=dict)
    """Cubins by digest."""
    entries: dict[str, bytes] = field(default_factory=dict)
    """Entries of Triton's cache by digest (`kopt.device.build.precompiled`)."""
    calls: int = 0
    """Launch calls made so far; an autotuned one counts once."""
    silent: bool = False
    """Log nothing while this is set."""
    violation: Rejected | None = None
    """The first violation of a rule; it stands even if the candidate caught the exception."""
    compile_errors: list[BaseException] = field(default_factory=list)
    """Exceptions that the compiler raised, and not the candidate."""
    _labels: dict[int, str] = field(default_factory=dict)
    """Names of storages by address: inputs and model by name, allocations by number."""
    _kept: list[torch.UntypedStorage] = field(default_factory=list)
    _allocations: int = 0

    def name_tensors(self, tensors: Mapping[str, object]) -> None:
        """Give the storages of the tensors among `tensors` their names, before the call."""
        for name, tensor in tensors.items():
            if isinstance(tensor, torch.Tensor):
                self._labels.setdefault(self._storage(tensor), name)

    def pointer(self, tensor: torch.Tensor) -> str:
        """Return what a tensor points at: the name of its storage, and the offset in bytes from the storage's start."""
        if tensor.device.type != "cuda":
            return f"host {tensor.device.type}"
        storage = self._storage(tensor)
        if storage not in self._labels:
            self._labels[storage] = f"allocation {self._allocations}"
            self._allocations += 1
        offset = int(tensor.storage_offset()) * tensor.element_size()
        return self._labels[storage] + (f" + {offset}" if offset else "")

    def forbid(self, reason: str) -> NoReturn:
        """Log a violation and raise the first one.

        Raises:
            Rejected: always.
        """
        self.violation = self.violation or Rejected(Phase.FALLBACK, reason)
        raise self.violation

    def add_host_op(self, operation: HostOp) -> None:
        """Log a host operation."""
        if not self.silent:
            self.host_ops.append(operation)

    def keep_code(self, ptx: str, cubin: bytes, entry: bytes) -> tuple[str, str, str]:
        """Keep the PTX, cubin and cache entry of a compiled kernel, and return their digests."""
        digests = _digest(ptx.encode()), _digest(cubin), _digest(entry)
        self.ptx[digests[0]], self.cubin[digests[1]], self.entries[digests[2]] = ptx, cubin, entry
        return digests

    def add_call(self, launches: Iterable[Launch]) -> None:
        """Log one launch call: one launch, or the configurations of which one will run."""
        if not self.silent:
            self.launches += [launch.model_copy(update={"call": self.calls}) for launch in launches]
            self.calls += 1

    def _storage(self, tensor: torch.Tensor) -> int:
        storage = tensor.untyped_storage()
        self._kept.append(storage)  # a new storage could get the address of a freed one
        return int(storage._cdata)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def layout(tensor: torch.Tensor) -> str:
    """Write dtype, shape and strides of a tensor as one word: `bfloat16[4,8][8,1]`."""
    return f"{dtype_name(tensor.dtype)}{list(map(int, tensor.shape))}{list(map(int, tensor.stride()))}".replace(" ", "")
