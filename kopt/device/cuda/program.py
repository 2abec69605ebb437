"""A call of an entry point as a program: the allocations, copies, fills and launches that it came to, in order.

A contestant records it, trusted code replays it (`kopt.device.cuda.replay`).  It is a pure value that says nothing of
whether the result is right: the replay's output is judged like any other.

Storages are numbered.  The first are the arguments' (inputs, then parameters, then buffers, a shared one once), then
those that the call allocates, in order.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from kopt.model.base import Value


class View(Value):
    """A tensor as a place in a storage."""

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
    """Its further fields (padding, rounding) by name."""


class HostTensor(Value):
    """A small tensor in host memory, by value."""

    kind: Literal["host"] = "host"
    dtype: str
    shape: tuple[int, ...]
    data: str
    """Its bytes in hexadecimal."""


class Scalar(Value):
    """A number, truth value, string or nothing."""

    kind: Literal["scalar"] = "scalar"
    value: int | float | bool | str | None


class Named(Value):
    """A dtype, layout or memory format of torch by name, or `cuda` or `cpu`."""

    kind: Literal["named"] = "named"
    name: str


class Many(Value):
    """A list or tuple."""

    kind: Literal["many"] = "many"
    items: tuple[Argument, ...]


Argument = Annotated[View | Descriptor | HostTensor | Scalar | Named | Many, Field(discriminator="kind")]
Many.model_rebuild()


class Allocate(Value):
    """A storage comes into being, its content undefined."""

    step: Literal["allocate"] = "allocate"
    storage: int
    bytes: int


class Operation(Value):
    """A copy or fill by torch."""

    step: Literal["operation"] = "operation"
    name: str
    """E.g. `aten::copy_.default`."""
    arguments: tuple[Argument, ...]
    named: tuple[tuple[str, Argument], ...] = ()
    result: int | None = None
    """Number of the storage that it makes, if it makes one."""


class KernelLaunch(Value):
    """A launch of a compiled Triton kernel."""

    step: Literal["launch"] = "launch"
    binary: str
    """SHA-256 of the cubin."""
    name: str
    """The kernel's name in the cubin."""
    grid: tuple[int, int, int]
    signature: tuple[Any, ...]
    """Types of the arguments as Triton names them, `constexpr` among them; nested for tuples."""
    arguments: tuple[Argument, ...]
    metadata: dict[str, Any]
    """Triton's metadata that launching reads."""


Step = Annotated[Allocate | Operation | KernelLaunch, Field(discriminator="step")]


class RecordedCall(Value):
    """What one call does on the device."""

    workload: str
    arguments: int
    """Number of storages that the arguments have."""
    steps: tuple[Step, ...]
    output: View

    @property
    def binaries(self) -> frozenset[str]:
        """Digests of the cubins that it launches."""
        return frozenset(step.binary for step in self.steps if isinstance(step, KernelLaunch))
