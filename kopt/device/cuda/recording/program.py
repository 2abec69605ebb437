"""Define the program, a recorded call of an entry point: its allocations, copies, fills and launches, in order.

A contestant records a call (`kopt.device.cuda.recording.capture`), trusted code replays it
(`kopt.device.cuda.recording.replay`).  A program is a pure value and proves nothing about its result: the output of the
replay is compared like any other.

Storages are numbered: first the storages of the arguments (inputs, then parameters, then buffers; a shared storage
counts once), then those that the call allocates, in order.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal  # signature and metadata have whatever form Triton gives them

from pydantic import Field

from kopt.model.base import Value
from kopt.model.timing import Launched


class View(Value):
    """The place of a tensor in a storage."""

    kind: Literal["view"] = "view"
    storage: int
    offset: int
    """Elements from the storage's start."""
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: str
    """E.g. `bfloat16`."""


class Descriptor(Value):
    """A tensor descriptor made on the host."""

    kind: Literal["descriptor"] = "descriptor"
    base: View
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    block_shape: tuple[int, ...]
    options: tuple[tuple[str, bool | str], ...] = ()
    """Further fields (padding, rounding) by name."""


class HostTensor(Value):
    """The value of a small tensor in host memory."""

    kind: Literal["host"] = "host"
    dtype: str
    shape: tuple[int, ...]
    data: str
    """The tensor's bytes in hexadecimal."""


class Scalar(Value):
    """A number, truth value, string or None."""

    kind: Literal["scalar"] = "scalar"
    value: int | float | bool | str | None


class Named(Value):
    """The name of a dtype, layout or memory format of torch, or `cuda` or `cpu`."""

    kind: Literal["named"] = "named"
    name: str


class Many(Value):
    """A list or tuple."""

    kind: Literal["many"] = "many"
    items: tuple[Argument, ...]


Argument = Annotated[View | Descriptor | HostTensor | Scalar | Named | Many, Field(discriminator="kind")]
Many.model_rebuild()


class Allocate(Value):
    """Allocate a storage with undefined contents."""

    step: Literal["allocate"] = "allocate"
    storage: int
    bytes: int


class Operation(Value):
    """Copy or fill by torch."""

    step: Literal["operation"] = "operation"
    name: str
    """E.g. `aten::copy_.default`."""
    arguments: tuple[Argument, ...]
    named: tuple[tuple[str, Argument], ...] = ()
    result: int | None = None
    """Number of the storage that the operation allocates, if any."""


class KernelLaunch(Value):
    """Launch a compiled Triton kernel."""

    step: Literal["launch"] = "launch"
    binary: str
    """SHA-256 of the cubin."""
    name: str
    """The kernel's name in the cubin."""
    grid: tuple[int, int, int]
    signature: tuple[Any, ...]
    """Types of the arguments as Triton names them, `constexpr` included; nested for tuples."""
    arguments: tuple[Argument, ...]
    metadata: dict[str, Any]
    """Triton's metadata that launching reads."""


Step = Annotated[Allocate | Operation | KernelLaunch, Field(discriminator="step")]


class RecordedCall(Value):
    """A program: everything that one call does on the device."""

    workload: str
    arguments: int
    """Number of storages of the arguments."""
    steps: tuple[Step, ...]
    structure: str = "Tensor"
    """Structure of the output (`kopt.device.reference.tree`)."""
    outputs: tuple[View, ...]
    """Tensors of the output, in order of the structure; they may lie in an argument."""

    @property
    def launches(self) -> tuple[Launched, ...]:
        """The launches of the program, in order."""
        return tuple(Launched(step.binary, step.grid) for step in self.steps if isinstance(step, KernelLaunch))

    @property
    def binaries(self) -> frozenset[str]:
        """Digests of the cubins that the program launches."""
        return frozenset(launch.cubin for launch in self.launches)
