"""What the CPU stage learns of a candidate: launches, resources, fingerprint, or why it failed."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from kopt.model.base import Value


class Phase(StrEnum):
    """Where a candidate failed."""

    SYNTAX = "syntax"
    IMPORT = "import"
    ENTRY = "entry"
    """No entry point, or its signature cannot take the problem's inputs."""
    TRACE = "trace"
    """The entry point raised while it was traced."""
    COMPILE = "compile"
    RESOURCES = "resources"
    """More shared memory, threads or registers than the device has."""
    CONTRACT = "contract"
    """Wrong type, shape, dtype or device of the output."""
    FALLBACK = "fallback"
    """No Triton launch, or torch computes part of the result."""
    TIMEOUT = "timeout"
    CRASH = "crash"
    """The process died (signal, exit, memory limit)."""
    INTERPRET = "interpret"
    """The Triton interpreter raised."""
    LAUNCH = "launch"
    """A launch failed on the GPU."""
    MUTATION = "mutation"
    """An input was changed though the problem does not allow it."""
    ROOFLINE = "roofline"
    """A time under the physical floor: refused."""
    REUSE = "reuse"
    """Slower on inputs that it was not called with before: refused."""


class Launch(Value):
    """One Triton launch, or one configuration that an autotuner would try, in order."""

    kernel: str
    """Name of the jitted function, as the candidate calls it."""
    grid: tuple[int, int, int]
    num_warps: int
    num_stages: int
    num_ctas: int
    shared_bytes: int
    registers: int
    """Registers per thread, from the cubin."""
    spills: int
    """Local memory per thread in bytes (spills and stack frame), from the cubin."""
    signature: tuple[tuple[str, str], ...]
    """Argument name and Triton type, in order (`("x_ptr", "*bf16")`; `constexpr` for compile-time values)."""
    constants: tuple[tuple[str, str], ...] = ()
    """Compile-time values by name, as `repr`."""
    specialisation: tuple[tuple[str, str], ...] = ()
    """What the JIT specialised of each run-time argument: divisibility by 16, equality to 1, scalar values' types."""
    arguments: tuple[tuple[str, str], ...] = ()
    """Run-time values by argument name: `repr` of a scalar, `bfloat16[2048, 1048576]` of a tensor; empty if unknown."""
    pointers: tuple[tuple[str, str], ...] = ()
    """What each pointer argument points at, by argument name: `input 0`, `model weight`, `allocation 1` (allocations in
    order of first use), then `+ bytes` where it is not the start; shape, strides and block of a tensor descriptor."""
    options: tuple[tuple[str, str], ...] = ()
    """Launch options that PTX does not carry, sorted by name."""
    call: int = 0
    """Which launch call of the entry point this is, from 0; configurations that one autotuned call tries share it."""
    trial: bool = False
    """True for a configuration that an autotuner tries; which of them runs is known only on the GPU."""
    ptx: str = ""
    """Digest of the PTX in the store."""
    cubin: str = ""
    """Digest of the cubin in the store."""
    entry: str = ""
    """Digest in the store of what Triton needs to load the cubin instead of compiling."""
    normal_ptx: str = ""
    """Digest of the normalised PTX, which the fingerprint is made of."""


class HostOp(Value):
    """One aten operation on device tensors around the launches."""

    name: str
    """E.g. `aten.empty.memory_format`."""
    shapes: tuple[tuple[int, ...], ...]
    """Shapes of its tensor arguments."""
    dtypes: tuple[str, ...] = ()
    kind: Literal["view", "allocation", "fill", "copy"] = "copy"
    """What it does; anything else is computing, and a reason to reject.  Views and allocations cost no device time."""
    pointers: tuple[str, ...] = ()
    """What its tensor arguments, then its results point at, as in `Launch.pointers`, with their dtype and strides."""
    scalars: tuple[str, ...] = ()
    """Its other arguments (`repr`), a fill's value among them."""
    before: int = 0
    """Number of launch calls made before it."""


class WorkloadBuild(Value):
    """The trace of one workload."""

    workload: str
    launches: tuple[Launch, ...]
    host_ops: tuple[HostOp, ...]
    output: str = ""
    """What the returned tensor points at, as in `Launch.pointers`, with its dtype, shape and strides."""


class Built(Value):
    """The candidate traced and compiled on every main workload."""

    status: Literal["built"] = "built"
    fingerprint: str
    """SHA-256 over what the candidate does on its workloads (`kopt.device.build.fingerprint` says what counts)."""
    workloads: tuple[WorkloadBuild, ...]


class BuildFailed(Value):
    """The candidate was rejected before any GPU; phase and reason say why."""

    status: Literal["failed"] = "failed"
    phase: Phase
    reason: str
    """A line or a few for the proposer to learn from; bounded."""


Build = Annotated[Built | BuildFailed, Field(discriminator="status")]
