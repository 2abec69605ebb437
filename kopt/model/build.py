"""Define the build of a candidate, made without a GPU: launches, resources and fingerprint, or the failure."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from kopt.model.base import Value


class Phase(StrEnum):
    """Phase of the build or of a judge in which a candidate failed."""

    SYNTAX = "syntax"
    """The source does not parse."""
    IMPORT = "import"
    """The screen refused the source, or importing it raised."""
    ENTRY = "entry"
    """No entry point, or its signature cannot take the problem's inputs."""
    TRACE = "trace"
    """The entry point raised while it was traced."""
    COMPILE = "compile"
    """The compiler raised."""
    RESOURCES = "resources"
    """More shared memory, threads or registers than the device has."""
    CONTRACT = "contract"
    """Wrong type, shape, dtype or device of the output."""
    FALLBACK = "fallback"
    """No kernel is launched, or torch computes part of the result."""
    TIMEOUT = "timeout"
    """The process was killed at its time limit."""
    CRASH = "crash"
    """The process died (signal, exit, memory limit)."""
    INTERPRET = "interpret"
    """A launch raised in the interpreter."""
    LAUNCH = "launch"
    """A launch failed on the GPU, or would leave its tensors there."""
    MUTATION = "mutation"
    """An input was changed though the problem does not allow it."""
    ROOFLINE = "roofline"
    """The time is under the roofline floor, or work is left out at full size."""
    REUSE = "reuse"
    """Calls on new inputs are slower than calls on inputs that were used before."""


class Launch(Value):
    """One launch, or one configuration that an autotuner would try."""

    kernel: str
    """Name of the jitted function, as the candidate calls it."""
    grid: tuple[int, int, int]
    """Blocks in x, y and z."""
    num_warps: int
    """Warps of a block."""
    num_stages: int
    """Stages of the software pipeline that the compiler was asked for."""
    num_ctas: int
    """Blocks of a cluster."""
    shared_bytes: int
    """Shared memory of a block, bytes."""
    registers: int
    """Registers per thread, from the cubin."""
    spills: int
    """Local memory per thread in bytes (spills and stack frame), from the cubin."""
    signature: tuple[tuple[str, str], ...]
    """Argument name and Triton type, in order (`("x_ptr", "*bf16")`; `constexpr` for compile-time values)."""
    constants: tuple[tuple[str, str], ...] = ()
    """Compile-time values by name, as `repr`."""
    specialisation: tuple[tuple[str, str], ...] = ()
    """The JIT's specialisation of run-time arguments, by name: divisibility by 16, equality to 1, type of a scalar."""
    arguments: tuple[tuple[str, str], ...] = ()
    """Run-time values by name: `repr` of a scalar, `bfloat16[2048, 1048576]` for a tensor; empty if not recorded."""
    pointers: tuple[tuple[str, str], ...] = ()
    """The target of each pointer argument, by name: `input 0`, `model weight`, `allocation 1` (allocations in order
    of first use), then `+ bytes` for an offset; for a tensor descriptor also its shape, strides and block."""
    options: tuple[tuple[str, str], ...] = ()
    """Launch options that PTX does not carry, sorted by name."""
    call: int = 0
    """Number of the launch call, from 0; the configurations that one autotuned call tries share it."""
    trial: bool = False
    """Whether an autotuner tries this configuration among others; only on a GPU is it known which one runs."""
    configuration: int | None = None
    """Number of a trial's configuration among those of its autotuner."""
    tuned_for: tuple[str, ...] = ()
    """The key under which a trial's autotuner keeps its choice, as `repr` of each member."""
    ptx: str = ""
    """Digest of the PTX in the store."""
    cubin: str = ""
    """Digest of the cubin in the store."""
    entry: str = ""
    """Digest, in the store, of the cache entry from which Triton loads the cubin instead of compiling."""
    normal_ptx: str = ""
    """Digest of the normalised PTX, on which the fingerprint rests."""


class HostOp(Value):
    """One operation of torch on device tensors around the launches."""

    name: str
    """E.g. `aten.empty.memory_format`."""
    shapes: tuple[tuple[int, ...], ...]
    """Shapes of its tensor arguments."""
    dtypes: tuple[str, ...] = ()
    """Dtypes of its tensor arguments."""
    kind: Literal["view", "allocation", "fill", "copy"] = "copy"
    """Kind of the operation; views and allocations take no device time.  An operation that computes is rejected."""
    pointers: tuple[str, ...] = ()
    """Targets of the tensor arguments, then of the results, as in `Launch.pointers`, with dtype, shape and strides."""
    scalars: tuple[str, ...] = ()
    """The other arguments as `repr`, a fill's value among them."""
    before: int = 0
    """Number of launch calls made before the operation."""


class WorkloadBuild(Value):
    """The trace of one workload."""

    workload: str
    launches: tuple[Launch, ...]
    host_ops: tuple[HostOp, ...]
    output: str = ""
    """Target of the returned tensor, as in `Launch.pointers`, with dtype, shape and strides."""


class Built(Value):
    """A candidate traced and compiled on every main workload."""

    status: Literal["built"] = "built"
    fingerprint: str
    """SHA-256 over the candidate's compiled behaviour on its workloads (see `kopt.device.build.fingerprint`)."""
    workloads: tuple[WorkloadBuild, ...]


class BuildFailed(Value):
    """A candidate that failed or was refused before it reached a judge."""

    status: Literal["failed"] = "failed"
    phase: Phase
    reason: str
    """A few lines from which the proposer can learn what to fix; bounded in length."""


class KernelDigests(Value):
    """Digests, in the store, of one compiled kernel: entry of Triton's cache, PTX and cubin, as in `Launch`."""

    entry: str
    ptx: str
    cubin: str


class FurtherKernels(Value):
    """Kernels of one candidate that were compiled for the workloads beside the main ones; no part of its build."""

    kernels: tuple[KernelDigests, ...] = ()


Build = Annotated[Built | BuildFailed, Field(discriminator="status")]
