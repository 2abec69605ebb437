"""Record a real call of an entry point as a program.

Triton's launches are seen where its driver makes a launcher and loads a binary, torch's operations by a dispatch mode.
A recording is a claim of the contestant: trusted code replays it, and only the replay counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any  # Triton has no types, an operation may have any arguments

import torch
from torch.utils._pytree import tree_leaves

from kopt.device.build.host_data import HostData
from kopt.device.build.hostops import kind_of
from kopt.device.cuda.recording.launch import NOT_ARGUMENTS, make_launcher
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
    Step,
    View,
)
from kopt.device.reference.dispatch import DispatchMode
from kopt.device.reference.layout import dtype_name
from kopt.device.reference.rejection import Rejected, address_reason
from kopt.device.reference.tree import taken_apart
from kopt.model.build import Phase

HOST_LIMIT = 65536
"""Largest host tensor that a program may carry, bytes."""

METADATA = (
    "num_warps", "num_ctas", "shared", "cluster_dims", "launch_cooperative_grid", "launch_pdl", "launch_cluster",
    "global_scratch_size", "global_scratch_align", "profile_scratch_size", "profile_scratch_align",
    "tensordesc_meta",
)  # fmt: skip
"""Fields of Triton's metadata that launching reads."""


class CallCapture:
    """See the launches and operations of this process; installed once, before the candidate is imported."""

    def __init__(self, device: str = "cuda") -> None:
        """Begin with nothing seen.

        Args:
            device: type of the device whose tensors count.
        """
        self._device = device
        self.launches = 0
        """Number of launches so far."""
        self.binaries: dict[str, bytes] = {}
        """Cubins by digest."""
        self._functions: dict[int, tuple[str, str]] = {}
        """Digest of the cubin and name of the kernel, by handle of the function."""
        self._recording: _Recording | None = None

    def install(self, driver: Any) -> None:
        """Wrap Triton's driver, so that every kernel is seen that it loads and launches from now on."""
        load, native = driver.utils.load_binary, driver.launcher_cls

        def load_binary(name: str, code: bytes, shared: int, device: int) -> Any:
            loaded = load(name, code, shared, device)
            digest = hashlib.sha256(code).hexdigest()
            self.binaries[digest] = code
            self._functions[loaded[1]] = (digest, name)
            return loaded

        def launcher(source: Any, metadata: Any) -> Callable[..., None]:
            signature = tuple(source.signature.values())
            launch = make_launcher(signature, metadata, native)

            def run(x: int, y: int, z: int, stream: int, function: int, *rest: Any) -> None:
                launch(x, y, z, stream, function, *rest)
                self.launches += x * y * z > 0
                if self._recording is not None:
                    binary, name = self._functions[function]
                    self._recording.launch(binary, name, (x, y, z), stream, signature, rest[NOT_ARGUMENTS:], metadata)

            return run

        driver.utils.load_binary = load_binary
        driver.launcher_cls = launcher

    def program(self, workload: str, arguments: Sequence[torch.Tensor], call: Callable[[], Any]) -> RecordedCall:
        """Make a call and record it.

        Args:
            workload: name of the workload.
            arguments: tensors of the arguments, in the order that numbers their storages.
            call: the candidate's call.

        Raises:
            Rejected: the call computes with torch, moves data to the host, or does something that cannot be replayed.
        """
        recording = self._recording = _Recording(arguments, self._device)
        count = recording.storages
        try:
            with recording, HostData(), torch.no_grad():
                output = taken_apart(call(), "output", (torch.Tensor,))
        finally:
            self._recording = None
        views = tuple(map(recording.view, output.tensors.values()))
        recording.check_numbers()
        steps = tuple(recording.steps)
        return RecordedCall(workload=workload, arguments=count, steps=steps, structure=output.structure, outputs=views)


class _Recording(DispatchMode):
    """Record the steps of one call."""

    def __init__(self, arguments: Sequence[torch.Tensor], device: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # torch has no types here
        self._device = device
        self.steps: list[Step] = []
        self._numbers: dict[int, int] = {}
        self._kept: list[torch.UntypedStorage] = []
        self._passed: list[tuple[int, int]] = []
        """Places and values of whole numbers that were passed to kernels."""
        for tensor in arguments:
            self._number(tensor)

    @property
    def storages(self) -> int:
        """Number of storages so far."""
        return len(self._kept)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation and record it."""
        kwargs = kwargs or {}
        results = func(*args, **kwargs)
        before, after = tree_leaves((args, kwargs)), tree_leaves(results)
        if func.namespace != "prim" and any(self._on_device(value) for value in (*before, *after)):
            self._operation(func, args, kwargs, before, after)
        return results

    def launch(
        self, binary: str, name: str, grid: tuple[int, int, int], stream: int, signature: tuple[Any, ...],
        arguments: Sequence[Any], metadata: Any,
    ) -> None:  # fmt: skip
        """Record one launch."""
        if stream != torch.cuda.default_stream().cuda_stream:
            raise Rejected(Phase.FALLBACK, "launches on a stream of its own")
        self._passed += [
            (place, number)
            for place, value in enumerate(arguments)
            for number in tree_leaves(value)
            if isinstance(number, int)
        ]
        kept = {field: _plain(getattr(metadata, field)) for field in METADATA if hasattr(metadata, field)}
        self.steps.append(
            KernelLaunch(
                binary=binary,
                name=name,
                grid=grid,
                signature=signature,
                arguments=tuple(
                    Scalar(value=None) if kind == "constexpr" else self._argument(value)
                    for kind, value in zip(signature, arguments, strict=True)
                ),
                metadata=kept,
            )
        )

    def check_numbers(self) -> None:
        """Check that no number passed to a kernel is an address: the replay's tensors lie elsewhere.

        Raises:
            Rejected: a number lies inside the storage of a tensor of the call.
        """
        ranges = [(storage.data_ptr(), storage.data_ptr() + storage.nbytes()) for storage in self._kept]
        for place, number in self._passed:
            if any(start <= number < end for start, end in ranges):
                raise Rejected(Phase.FALLBACK, address_reason(place))

    def view(self, tensor: torch.Tensor) -> View:
        """Describe the place of a tensor in its storage.

        Memory from before the call is recorded as allocated by it: a workspace may be kept, but its old contents must
        not matter.

        Raises:
            Rejected: the tensor is not on the device.
        """
        if not self._on_device(tensor):
            raise Rejected(Phase.CONTRACT, f"the output's device must be cuda, got {tensor.device}")
        if not self._has_number(tensor):
            number = self._number(tensor)
            self.steps.append(Allocate(storage=number, bytes=tensor.untyped_storage().nbytes()))
        return View(
            storage=self._number(tensor), offset=tensor.storage_offset(), shape=tuple(tensor.shape),
            stride=tuple(tensor.stride()), dtype=dtype_name(tensor.dtype),
        )  # fmt: skip

    def _operation(
        self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], before: list[Any], after: list[Any]
    ) -> None:
        if any(self._on_device(value) for value in before) and any(self._elsewhere(value) for value in after):
            raise Rejected(Phase.FALLBACK, f"{func} moves data from the device to the host")
        kind = kind_of(func)
        if kind is None:
            raise Rejected(Phase.FALLBACK, f"torch computes on the device: {func}; the Triton kernel is to do that")
        made = [value for value in after if self._on_device(value) and not self._has_number(value)]
        if kind == "allocation":
            self.steps += [
                Allocate(storage=self._number(value), bytes=value.untyped_storage().nbytes()) for value in made
            ]
        elif kind in ("fill", "copy"):
            self._record(func, args, kwargs, made)

    def _record(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], made: list[torch.Tensor]) -> None:
        name = f"{func._schema.name}.{func._overloadname}"
        arguments = tuple(self._argument(value) for value in args)
        named = tuple((key, self._argument(value)) for key, value in sorted(kwargs.items()))
        result = self._number(made[0]) if made else None
        self.steps.append(Operation(name=name, arguments=arguments, named=named, result=result))

    def _argument(self, value: Any) -> Argument:
        if isinstance(value, torch.Tensor):
            return self.view(value) if self._on_device(value) else _host(value)
        if value is None or isinstance(value, int | float | bool | str):
            return Scalar(value=value)
        if isinstance(value, list | tuple):
            return Many(items=tuple(self._argument(item) for item in value))
        if isinstance(value, torch.device):
            return Named(name=value.type)
        if isinstance(value, torch.dtype | torch.memory_format | torch.layout):
            return Named(name=str(value).removeprefix("torch."))
        if hasattr(value, "base") and hasattr(value, "block_shape"):
            return self._descriptor(value)
        raise Rejected(Phase.LAUNCH, f"an argument of type {type(value).__name__} cannot be replayed")

    def _descriptor(self, value: Any) -> Descriptor:
        options = {name: getattr(value, name, None) for name in ("padding", "round_f32_to_tf32")}
        return Descriptor(
            base=self.view(value.base),
            shape=tuple(map(int, value.shape)),
            strides=tuple(map(int, value.strides)),
            block_shape=tuple(map(int, value.block_shape)),
            options=tuple((name, option) for name, option in options.items() if option is not None),
        )

    def _on_device(self, value: Any) -> bool:
        return isinstance(value, torch.Tensor) and value.device.type == self._device

    def _elsewhere(self, value: Any) -> bool:
        return isinstance(value, torch.Tensor) and value.device.type != self._device

    def _has_number(self, tensor: torch.Tensor) -> bool:
        return tensor.untyped_storage().data_ptr() in self._numbers

    def _number(self, tensor: torch.Tensor) -> int:
        """Return the number of a tensor's storage, a new number for a new storage, which is kept alive."""
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._numbers:
            self._numbers[storage.data_ptr()] = len(self._kept)
            self._kept.append(storage)
        return self._numbers[storage.data_ptr()]


def _host(value: torch.Tensor) -> HostTensor:
    data = value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b""
    if len(data) > HOST_LIMIT:
        raise Rejected(Phase.FALLBACK, f"copies {len(data)} bytes from the host in every call")
    return HostTensor(dtype=dtype_name(value.dtype), shape=tuple(value.shape), data=data.hex())


def _plain(value: Any) -> Any:
    """Make plain data of a metadata field."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value
