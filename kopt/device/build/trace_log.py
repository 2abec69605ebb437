"""What one traced call of an entry point leaves behind."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

import torch

from kopt.device.reference.rejection import Rejected
from kopt.model.build import HostOp, Launch, Phase


@dataclass
class TraceLog:
    """Launches and host operations in order, and the compiled texts they name by digest."""

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
    """Nothing is recorded while this is set."""
    violation: Rejected | None = None
    """The first thing done that may not be done; stands even if the candidate caught the exception."""
    compile_errors: list[BaseException] = field(default_factory=list)
    """Exceptions that compiling raised, to tell them from the candidate's own."""
    _labels: dict[int, str] = field(default_factory=dict)
    _kept: list[torch.UntypedStorage] = field(default_factory=list)
    _allocations: int = 0

    def know(self, tensors: Mapping[str, object]) -> None:
        """Give the tensors among these their names, before the call."""
        for name, tensor in tensors.items():
            if isinstance(tensor, torch.Tensor):
                self._labels.setdefault(self._storage(tensor), name)

    def pointer(self, tensor: torch.Tensor) -> str:
        """What the tensor points at: whose storage, and the bytes from its start."""
        if tensor.device.type != "cuda":
            return f"host {tensor.device.type}"
        storage = self._storage(tensor)
        if storage not in self._labels:
            self._labels[storage] = f"allocation {self._allocations}"
            self._allocations += 1
        offset = int(tensor.storage_offset()) * tensor.element_size()
        return self._labels[storage] + (f" + {offset}" if offset else "")

    def forbid(self, what: str) -> NoReturn:
        """Note a violation and raise it.

        Raises:
            Rejected: always.
        """
        self.violation = self.violation or Rejected(Phase.FALLBACK, what)
        raise self.violation

    def host_op(self, operation: HostOp) -> None:
        """Record an operation."""
        if not self.silent:
            self.host_ops.append(operation)

    def keep_text(self, ptx: str, cubin: bytes, entry: bytes) -> tuple[str, str, str]:
        """Keep compiled code; its digests."""
        names = _digest(ptx.encode()), _digest(cubin), _digest(entry)
        self.ptx[names[0]], self.cubin[names[1]], self.entries[names[2]] = ptx, cubin, entry
        return names

    def call(self, launches: Iterable[Launch]) -> None:
        """Record one launch call: one launch, or the configurations of which one will run."""
        if not self.silent:
            self.launches += [launch.model_copy(update={"call": self.calls}) for launch in launches]
            self.calls += 1

    def _storage(self, tensor: torch.Tensor) -> int:
        storage = tensor.untyped_storage()
        self._kept.append(storage)  # a storage that died could be mistaken for the next one
        return int(storage._cdata)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def layout(tensor: torch.Tensor) -> str:
    """Dtype, shape and strides of a tensor, in a word."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    return f"{dtype}{list(map(int, tensor.shape))}{list(map(int, tensor.stride()))}".replace(" ", "")
