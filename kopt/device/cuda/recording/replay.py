"""Replay a recorded program in a process that never imported the candidate.

Each step is checked against what a candidate may do: whatever a contestant claims, a replay only launches binaries that
came with the program, allocates, fills and copies.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any  # Triton has no types, a launch may have any arguments

import torch

from kopt.device.build.hostops import KINDS
from kopt.device.cuda.recording.launch import make_launcher
from kopt.device.cuda.recording.program import (
    Allocate,
    Argument,
    Descriptor,
    HostTensor,
    KernelLaunch,
    Many,
    Named,
    Operation,
    RecordedCall,
    Scalar,
    View,
)
from kopt.device.cuda.storage import flat_bytes
from kopt.errors import DeviceError

NAMES = {
    "cuda", "cpu", "strided", "contiguous_format", "preserve_format", "channels_last", "channels_last_3d",
}  # fmt: skip
"""Devices, layouts and memory formats that a program may name."""

PLAIN_TYPE = re.compile(r"[\w*<>\[\], #.]+")
"""Pattern of the types of arguments, as Triton writes them."""


class NotReplayable(DeviceError):
    """A program contains a step that no candidate may do."""


Storages = dict[int, torch.Tensor]
"""Flat byte tensors by number."""
Run = Callable[[Storages], None]
"""Does one step on the storages."""


class Replay:
    """A program with its binaries loaded, ready to run on any arguments of its workload."""

    def __init__(self, program: RecordedCall, binaries: Mapping[str, bytes], driver: Any, device: str = "cuda") -> None:
        """Load the binaries into this process's context.

        Args:
            program: to replay.
            binaries: cubins by digest.
            driver: Triton's driver, not wrapped by a `CallCapture`.
            device: type of the device to allocate on.

        Raises:
            NotReplayable: the program contains a step that no candidate may do.
        """
        self._program = program
        self._device = device
        self._driver = driver
        self._functions: dict[tuple[str, str], int] = {}
        self._binaries = binaries
        self._steps = [(self._prepared(step), isinstance(step, KernelLaunch)) for step in program.steps]
        self._allocated = {step.storage: step.bytes for step in program.steps if isinstance(step, Allocate)}

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self._steps)

    def memory(self) -> Storages:
        """Make the memory that one call allocates, full of NaN, so that it holds nothing of an earlier call."""
        made = {at: torch.empty(size, dtype=torch.uint8, device=self._device) for at, size in self._allocated.items()}
        return {at: flat.fill_(0xFF) for at, flat in made.items()}

    def run(
        self, arguments: Sequence[torch.Tensor], *, memory: Storages | None = None, ghost: bool = False
    ) -> list[torch.Tensor]:
        """Run the program once on the current stream and return the tensors of the output.

        Args:
            arguments: flat byte tensors of the arguments' storages.
            memory: result of `memory`, for this call alone; if None, memory is allocated step by step, as the candidate
                did.
            ghost: leave the launches out.

        Raises:
            NotReplayable: the number of arguments is wrong, or a storage is used before it is made.
        """
        if len(arguments) != self._program.arguments:
            raise NotReplayable(f"the program wants {self._program.arguments} storages, not {len(arguments)}")
        storages: Storages = dict(enumerate(arguments)) | (memory or {})
        for step, is_launch in self._steps:
            if not (ghost and is_launch):
                step(storages)
        return [_placed(view, storages) for view in self._program.outputs]

    def _prepared(self, step: Allocate | Operation | KernelLaunch) -> Run:
        if isinstance(step, Allocate):
            return self._allocation(step)
        return _operation(step) if isinstance(step, Operation) else self._launch(step)

    def _allocation(self, step: Allocate) -> Run:
        def allocate(storages: Storages) -> None:
            if step.storage not in storages:
                storages[step.storage] = torch.empty(step.bytes, dtype=torch.uint8, device=self._device)

        return allocate

    def _launch(self, step: KernelLaunch) -> Run:
        # Triton reads `cluster_dims` of older metadata and `num_ctas` of newer; absent fields stay absent.
        metadata = SimpleNamespace(**_metadata(step.metadata))
        signature = tuple(_nested(kind) for kind in step.signature)
        launcher = make_launcher(signature, metadata, self._driver.launcher_cls)
        function = self._function(step, metadata)
        packed = (metadata.num_warps, metadata.num_ctas, metadata.shared)
        x, y, z = step.grid

        def launch(storages: Storages) -> None:
            values = [_value(argument, storages) for argument in step.arguments]
            stream = torch.cuda.current_stream().cuda_stream
            launcher(x, y, z, stream, function, packed, None, None, None, *values)

        return launch

    def _function(self, step: KernelLaunch, metadata: Any) -> int:
        key = (step.binary, step.name)
        if step.binary not in self._binaries:
            raise NotReplayable(f"the program launches {step.binary[:12]}, a binary that did not come with it")
        if key not in self._functions:
            loaded = self._driver.utils.load_binary(step.name, self._binaries[step.binary], metadata.shared, 0)
            self._functions[key] = loaded[1]
        return self._functions[key]


def _metadata(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Complete recorded metadata with Triton's defaults."""
    integers = {name: recorded[name] for name in ("num_warps", "shared")}
    defaults = {
        "num_ctas": 1, "launch_cooperative_grid": False, "launch_pdl": False, "global_scratch_size": 0,
        "global_scratch_align": 1, "profile_scratch_size": 0, "profile_scratch_align": 1,
    }  # fmt: skip
    return defaults | dict(recorded) | {name: int(value) for name, value in integers.items()}


def _nested(kind: Any) -> Any:
    """Check a type of the signature, which Triton's launcher may put into C code that it compiles.

    Raises:
        NotReplayable: the type contains characters that no type has.
    """
    if isinstance(kind, list | tuple):
        return tuple(_nested(inner) for inner in kind)
    if not PLAIN_TYPE.fullmatch(str(kind)):
        raise NotReplayable(f"{kind!r} is no type of an argument")
    return kind


def _operation(step: Operation) -> Run:
    qualified, _, overload = step.name.rpartition(".")
    if KINDS.get(qualified) not in ("fill", "copy"):
        raise NotReplayable(f"{step.name} is no copy or fill")
    function = getattr(getattr(torch.ops.aten, qualified.removeprefix("aten::")), overload)

    def operate(storages: Storages) -> None:
        arguments = [_value(argument, storages) for argument in step.arguments]
        result = function(*arguments, **{name: _value(argument, storages) for name, argument in step.named})
        if step.result is not None:
            storages[step.result] = flat_bytes(result)

    return operate


def _value(argument: Argument, storages: Storages) -> Any:
    match argument:
        case View():
            return _placed(argument, storages)
        case Scalar(value=value):
            return value
        case Many(items=items):
            return [_value(item, storages) for item in items]
        case Named(name=name):
            return _named(name)
        case HostTensor():
            return _host(argument)
        case Descriptor():
            return _descriptor(argument, storages)


def _placed(view: View, storages: Storages) -> torch.Tensor:
    """Return the tensor at a place; torch refuses a tensor that reaches outside its storage."""
    flat = storages.get(view.storage)
    if flat is None:
        raise NotReplayable(f"storage {view.storage} is used before it is made")
    dtype = _dtype(view.dtype)
    whole = flat[: flat.numel() // dtype.itemsize * dtype.itemsize].view(dtype)
    return whole.as_strided(view.shape, view.stride, view.offset)


def _named(name: str) -> Any:
    if name in ("cuda", "cpu"):
        return torch.device(name)
    return getattr(torch, name) if name in NAMES else _dtype(name)


def _dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise NotReplayable(f"{name} is no dtype")
    return dtype


def _host(value: HostTensor) -> torch.Tensor:
    data = bytearray.fromhex(value.data)
    dtype = _dtype(value.dtype)
    flat = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
    return flat.reshape(value.shape)


def _descriptor(value: Descriptor, storages: Storages) -> Any:
    from triton.tools.tensor_descriptor import TensorDescriptor

    base = _placed(value.base, storages)
    lists = (list(value.shape), list(value.strides), list(value.block_shape))
    return TensorDescriptor(base, *lists, **dict(value.options))
