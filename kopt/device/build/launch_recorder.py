"""Record launches where Triton makes them, by replacing `JITFunction.run` and `Autotuner.run` for a while.

On the stub GPU a launch is compiled and recorded, and nothing runs.  On a real GPU (`real=True`) it is recorded and
then runs as always, so that a trace without a GPU can be compared with one on a GPU.  `Any` stands for Triton's
functions, kernels and autotuners, and for a candidate's arguments: Triton ships no types.
"""

from __future__ import annotations

import copy
import inspect
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
import triton
from torch.utils._pytree import tree_leaves
from triton.compiler.compiler import ASTSource, CompiledKernel
from triton.compiler.errors import CompileTimeAssertionFailure
from triton.runtime.autotuner import Autotuner
from triton.runtime.errors import OutOfResources, PTXASError
from triton.runtime.jit import JITFunction

from kopt.device.build.cubin import Resources, resources
from kopt.device.build.normal_ptx import normal_digest
from kopt.device.build.precompiled import entry_of
from kopt.device.build.trace_log import TraceLog, layout
from kopt.device.reference.layout import dtype_name
from kopt.device.reference.rejection import Rejected, address_reason
from kopt.model.build import Launch, Phase
from kopt.model.device import Device

UNCARRIED = (
    "num_ctas", "cluster_dims", "launch_cooperative_grid", "launch_pdl", "launch_cluster", "enable_fp_fusion",
    "ptx_options", "global_scratch_size", "global_scratch_align", "profile_scratch_size", "tensordesc_meta",
    "tmem_size",
)  # fmt: skip
"""Launch options (fields of Triton's metadata) that change what runs and that the PTX does not carry."""

SKIPPED_BY_TUNER = (OutOfResources, CompileTimeAssertionFailure, PTXASError)
"""Errors with which one configuration of an autotuner drops out, while the others stay."""

GRID_LIMITS = (2**31 - 1, 65535, 65535)
"""CUDA's largest grid in x, y and z, blocks."""
_TRITON = Path(triton.__file__).resolve().parent
_ASSEMBLY = re.compile(r"// begin inline asm(.*?)// end inline asm", re.DOTALL)
_DECLARED = re.compile(r"(?<![\w.])\.global\b")
"""A declaration: in an instruction such as `ld.global` a letter stands before the dot."""

MAX_THREADS = 1024
"""CUDA's largest block, threads."""


@contextmanager
def record_launches(log: TraceLog, device: Device, *, real: bool = False) -> Iterator[None]:
    """Add every launch made inside the block to `log`.

    Args:
        log: the log that gets the launches.
        device: a launch that exceeds its resources is rejected.
        real: launch as well; there is a GPU, and Triton's own driver is active.
    """
    recorder = _LaunchRecorder(log, device, real, JITFunction.run, Autotuner.run)
    with ExitStack() as undo:
        for owner, name, value in (
            (JITFunction, "run", lambda fn, *args, **kwargs: recorder.run(fn, *args, **kwargs)),
            (Autotuner, "run", lambda fn, *args, **kwargs: recorder.autotune(fn, *args, **kwargs)),
            (CompiledKernel, "__getitem__", lambda kernel, grid: recorder.precompiled(kernel, grid)),
        ):
            if real and owner is CompiledKernel:
                continue
            undo.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, value)
        yield


@dataclass(frozen=True)
class _Code:
    """Digests (as in `Launch`) and resources of one compiled kernel."""

    ptx: str
    cubin: str
    entry: str
    normal_ptx: str
    resources: Resources


class _LaunchRecorder:
    """Record launches in place of Triton's own functions `run` and `autotune`, which compile and launch."""

    def __init__(
        self, log: TraceLog, device: Device, real: bool, run: Callable[..., Any], autotune: Callable[..., Any]
    ) -> None:
        self._log = log
        self._device = device
        self._real = real
        self._run = run
        self._autotune = autotune
        self._trials: list[Launch] | None = None  # while an autotuner tries its configurations
        self._trial: dict[str, Any] = {}  # what is recorded of the present configuration
        self._codes: dict[str, _Code] = {}
        self._warmed: dict[str, dict[str, Any]] = {}  # named arguments of `warmup`, by the digest of the kernel

    def run(self, fn: Any, *args: Any, grid: Any = None, warmup: bool = False, **kwargs: Any) -> Any:
        """Compile and record a launch, in place of `JITFunction.run`."""
        if warmup and self._trials is None:
            kernel = self._compiled(fn, args, kwargs, grid)
            self._warmed[kernel.hash] = kwargs
            return self._handed_out(kernel)
        if self._log.silent:
            return self._run(fn, *args, grid=grid, warmup=not self._real, **kwargs)
        binder = fn.device_caches[_current_device()][-1]
        bound, specialisation, _ = binder(*args, **kwargs)
        kernel = self._compiled(fn, args, kwargs, grid)
        launch = self._launch(fn, kernel, bound, specialisation, grid(bound) if callable(grid) else grid)
        check_resources(launch, self._device)
        if self._trials is not None:
            self._trials.append(launch.model_copy(update={"trial": True, **self._trial}))
            return self._handed_out(kernel)
        self._log.add_call([launch])
        return self._run(fn, *args, grid=grid, warmup=False, **kwargs) if self._real else self._handed_out(kernel)

    def autotune(self, tuner: Any, *args: Any, **kwargs: Any) -> Any:
        """Record a call with every configuration that compiles and has room, in place of `Autotuner.run`."""
        if len(tuner.configs) < 2 or self._log.silent:
            return self._autotune(tuner, *args, **kwargs)
        tuner.nargs = dict(zip(tuner.arg_names, args, strict=False))
        self._trials, refused, key = [], None, tuple(map(repr, _key(tuner, kwargs)))
        try:
            for config in tuner.prune_configs(kwargs):
                logged = len(self._log.host_ops)
                number = next((at for at, one in enumerate(tuner.configs) if one is config), None)
                self._trial = {"configuration": number, "tuned_for": key}
                try:
                    self._try(tuner, config, args, kwargs)
                except (Rejected, *SKIPPED_BY_TUNER) as error:
                    refused = refused or error
                if len(self._trials) != 1:
                    del self._log.host_ops[logged:]  # hooks run once when the choice is made
            trials = self._trials
        finally:
            self._trials, self._log.silent = None, False
        if not trials and refused is not None:
            raise refused
        self._log.add_call(trials)
        return self._tuned_for_real(tuner, args, kwargs) if self._real else None

    def precompiled(self, kernel: Any, grid: Any) -> Any:
        """Return the function that launches a compiled kernel, in place of `CompiledKernel.__getitem__`.

        It takes the arguments in order, those for the compiler among them, as Triton's own does.
        """
        if not isinstance(kernel.src, ASTSource):
            raise Rejected(Phase.IMPORT, "launches a kernel that is compiled from another text than the file's")
        fn = kernel.src.fn

        def launch(*args: Any, stream: Any = None) -> None:
            given = dict(zip(fn.arg_names, args, strict=False))
            launched = self.run(fn, grid=grid, **{**self._warmed.get(kernel.hash, {}), **given})
            if launched.hash != kernel.hash:
                reason = f"{fn.__name__} is launched with arguments of another kind than it was compiled for by warmup"
                raise Rejected(Phase.TRACE, reason)

        return launch

    def _try(self, tuner: Any, config: Any, args: Any, kwargs: Mapping[str, Any]) -> None:
        current = {**kwargs, **config.all_kwargs()}
        if config.pre_hook is not None:
            config.pre_hook({**tuner.nargs, **current})
        tuner.fn.run(*args, **current)

    def _tuned_for_real(self, tuner: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
        self._log.silent = True
        try:
            return self._autotune(tuner, *args, **kwargs)
        finally:
            self._log.silent = False

    def _compiled(self, fn: Any, args: Any, kwargs: Mapping[str, Any], grid: Any) -> Any:
        """Compile, and log an exception of the compiler as such."""
        check_origin(kwargs)
        try:
            return self._run(fn, *args, grid=grid, warmup=True, **kwargs)
        except Exception as error:
            self._log.compile_errors.append(error)
            raise

    def _launch(self, fn: Any, kernel: Any, bound: Mapping[str, Any], specialisation: Any, grid: Any) -> Launch:
        names = [parameter.name for parameter in fn.params]
        kinds = {name: pair[0] for name, pair in zip(names, specialisation, strict=False)}
        flat = [item for name in names for item in _members(name, kinds[name], bound[name])]
        runtime = {name: value for name, kind, value in flat if kind != "constexpr"}
        self._check_numbers(bound)
        options, code = kernel.metadata._asdict(), self._code(kernel)
        return Launch(
            kernel=fn.fn.__name__,
            grid=_whole_grid(grid),
            num_warps=options["num_warps"],
            num_stages=options["num_stages"],
            num_ctas=options.get("num_ctas", 1),
            shared_bytes=options["shared"],
            registers=code.resources.registers,
            spills=code.resources.local_bytes,
            signature=tuple((name, str(kind)) for name, kind, _ in flat),
            constants=tuple((name, _constant(value)) for name, kind, value in flat if kind == "constexpr"),
            specialisation=tuple(
                (name, str(pair[1]))
                for name, pair in zip(names, specialisation, strict=False)
                if pair[0] != "constexpr"
            ),
            arguments=tuple((name, _value(value)) for name, value in runtime.items()),
            pointers=tuple(
                (name, self._target(value)) for name, value in runtime.items() if _base(value) is not None
            ),
            options=tuple(sorted((name, repr(options[name])) for name in UNCARRIED if options.get(name) is not None)),
            ptx=code.ptx,
            cubin=code.cubin,
            entry=code.entry,
            normal_ptx=code.normal_ptx,
        )  # fmt: skip

    def _check_numbers(self, bound: Mapping[str, Any]) -> None:
        """Check that no number among the arguments is an address, which another call's tensors do not have.

        Raises:
            Rejected: a number is the address of a tensor.
        """
        for name, value in bound.items():
            if any(isinstance(number, int) and self._log.is_address(number) for number in tree_leaves(value)):
                self._log.forbid(address_reason(name))

    def _code(self, kernel: Any) -> _Code:
        """Return digests and resources of a compiled kernel, computed once however often it is launched."""
        if kernel.hash not in self._codes:
            ptx, cubin = kernel.asm["ptx"], kernel.asm["cubin"]
            check_assembly(ptx, kernel.metadata.name)
            digests = self._log.keep_code(ptx, cubin, entry_of(kernel))
            self._codes[kernel.hash] = _Code(*digests, normal_digest(ptx), resources(cubin, kernel.metadata.name))
        return self._codes[kernel.hash]

    def _handed_out(self, kernel: Any) -> Any:
        """Return a copy of a compiled kernel for the candidate, so that what is recorded of it cannot be changed."""
        if self._real:
            return kernel
        self._code(kernel)
        copied = copy.copy(kernel)
        copied.asm = copy.copy(kernel.asm)
        return copied

    def _target(self, value: Any) -> str:
        """Write what a pointer or tensor descriptor points at, as in `Launch.pointers`."""
        base = _base(value)
        assert base is not None
        pointer = self._log.pointer(base)
        if base is value:
            return pointer
        fields = (value.shape, value.strides, value.block_shape)
        return " ".join([pointer, *(repr([int(number) for number in numbers]) for numbers in fields)])


def _key(tuner: Any, named: Mapping[str, Any]) -> list[Any]:
    """Return the key under which an autotuner keeps its choice, as `Autotuner.run` makes it."""
    given = {name: value for name, value in (tuner.nargs | named).items() if name in tuner.arg_names}
    dtypes = [str(value.dtype) for value in given.values() if hasattr(value, "dtype")]
    return [given[name] for name in tuner.keys if name in given] + dtypes


def _members(name: str, kind: Any, value: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield name, kind and value of an argument, or of each member of a tuple: `x.0` is the first one of `x`."""
    if isinstance(kind, tuple | list):
        for place, (inner, member) in enumerate(zip(kind, value, strict=True)):
            yield from _members(f"{name}.{place}", inner, member)
    else:
        yield name, kind, value


def check_resources(launch: Launch, device: Device) -> None:
    """Check that the launch's grid and one of its blocks fit on the device.

    Raises:
        Rejected: one of them does not.
    """
    threads = launch.num_warps * device.warp_size
    if launch.shared_bytes > device.shared_bytes_per_block:
        reason = f"{launch.shared_bytes} bytes of shared memory a block; the device has {device.shared_bytes_per_block}"
    elif threads > MAX_THREADS:
        reason = f"{threads} threads a block; the device allows {MAX_THREADS}"
    elif launch.registers * threads > device.registers_per_sm:
        reason = f"{launch.registers} registers for {threads} threads; the device has {device.registers_per_sm}"
    elif any(size > limit for size, limit in zip(launch.grid, GRID_LIMITS, strict=True)):
        reason = f"grid {launch.grid}; the device allows {GRID_LIMITS}"
    else:
        return
    raise Rejected(Phase.RESOURCES, f"{launch.kernel}: {reason}")


def check_assembly(ptx: str, kernel: str) -> None:
    """Check that no inline assembly declares memory that outlives a call, which no judge can clear.

    Raises:
        Rejected: a piece of assembly does.
    """
    if any(_DECLARED.search(piece) for piece in _ASSEMBLY.findall(ptx)):
        reason = "inline assembly declares .global memory, which keeps its content from call to call: pass a tensor"
        raise Rejected(Phase.COMPILE, f"{kernel}: {reason}")


def check_origin(options: Mapping[str, Any]) -> None:
    """Check that a kernel is compiled from its own text and from Triton's libraries.

    Raises:
        Rejected: an option names another text or library.
    """
    if options.get("ir_override"):
        raise Rejected(Phase.COMPILE, "option ir_override: a kernel is compiled from the text that was handed in")
    libraries = options.get("extern_libs") or ()
    for name, path in dict(libraries).items():
        if not Path(path).resolve().is_relative_to(_TRITON):
            raise Rejected(Phase.COMPILE, f"option extern_libs: library {name} is not one of Triton's")


def launches_something(launch: Launch) -> bool:
    """Return whether the grid has any block."""
    return prod(launch.grid) > 0


def _current_device() -> int:
    from triton.runtime import driver

    device = driver.active.get_current_device()
    assert isinstance(device, int)
    return device


def _whole_grid(grid: Any) -> tuple[int, int, int]:
    """Return the grid with its missing dimensions.

    Raises:
        TypeError: a size is no integer, as at a real launch.
        ValueError: a size is negative, or there are not one to three sizes.
    """
    sizes = [operator.index(size) for size in grid]
    if not 1 <= len(sizes) <= 3 or min(sizes) < 0:
        raise ValueError(f"a grid of one to three sizes is wanted, not {sizes}")
    x, y, z = (*sizes, 1, 1)[:3]
    return x, y, z


def _base(value: Any) -> torch.Tensor | None:
    """Return the tensor behind a pointer or tensor-descriptor argument; None for any other argument."""
    if isinstance(value, torch.Tensor):
        return value
    base = getattr(value, "base", None)
    return base if isinstance(base, torch.Tensor) else None


def _value(value: Any) -> str:
    """Write a run-time argument as in `Launch.arguments`."""
    base = _base(value)
    if base is None:
        return repr(value)
    if base is value:
        return f"{dtype_name(base.dtype)}{[int(size) for size in base.shape]}"
    return f"descriptor of {layout(base)}"


def _constant(value: Any) -> str:
    """Write a compile-time argument as in `Launch.constants`, without addresses."""
    if inspect.isfunction(value) or isinstance(value, JITFunction):
        return str(value.__name__)
    return re.sub(r"\b0x[0-9a-f]{6,}\b", "0x?", repr(getattr(value, "value", value)))
