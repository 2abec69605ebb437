"""Record launches where Triton makes them: `JITFunction.run` and `Autotuner.run` are replaced while this is active.

On the stub device a launch compiles and is recorded, and nothing runs.  On a real device (`real=True`) it is recorded
and then runs as always; this is how a CPU trace is compared with what a GPU sees.
"""

from __future__ import annotations

import inspect
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from triton.compiler.compiler import CompiledKernel
from triton.compiler.errors import CompileTimeAssertionFailure
from triton.runtime.autotuner import Autotuner
from triton.runtime.errors import OutOfResources, PTXASError
from triton.runtime.jit import JITFunction

from kopt.device.build.cubin import Resources, resources
from kopt.device.build.normal_ptx import normal_digest
from kopt.device.build.precompiled import entry_of
from kopt.device.build.trace_log import TraceLog, layout
from kopt.device.reference.rejection import Rejected
from kopt.model.build import Launch, Phase
from kopt.model.device import Device

UNCARRIED = (
    "num_ctas", "cluster_dims", "launch_cooperative_grid", "launch_pdl", "launch_cluster", "enable_fp_fusion",
    "ptx_options", "global_scratch_size", "global_scratch_align", "profile_scratch_size", "tensordesc_meta",
    "tmem_size",
)  # fmt: skip
"""Launch options (fields of Triton's metadata) that change what runs and are not in the PTX."""

SKIPPED_BY_TUNER = (OutOfResources, CompileTimeAssertionFailure, PTXASError)
"""What may go wrong with one configuration of an autotuner without harm to the others."""

GRID_LIMITS = (2**31 - 1, 65535, 65535)
MAX_THREADS = 1024


@contextmanager
def record_launches(recorder: TraceLog, device: Device, *, real: bool = False) -> Iterator[None]:
    """Record every launch into `recorder` while the context lasts.

    Args:
        recorder: where launches go.
        device: limits of its resources reject a launch.
        real: launch as well; there is a device, and Triton's own driver is active.
    """
    tracer = _Tracer(recorder, device, real, JITFunction.run, Autotuner.run)
    with ExitStack() as undo:
        for owner, name, value in (
            (JITFunction, "run", lambda fn, *args, **kwargs: tracer.run(fn, *args, **kwargs)),
            (Autotuner, "run", lambda fn, *args, **kwargs: tracer.autotune(fn, *args, **kwargs)),
            (CompiledKernel, "__getitem__", tracer.precompiled),
        ):
            if real and owner is CompiledKernel:
                continue
            undo.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, value)
        yield


@dataclass(frozen=True)
class _Code:
    """What is known of one compiled kernel; digests as in `Launch`."""

    ptx: str
    cubin: str
    entry: str
    normal_ptx: str
    used: Resources


class _Tracer:
    """Stands in for Triton's launching."""

    def __init__(
        self, recorder: TraceLog, device: Device, real: bool, run: Callable[..., Any], autotune: Callable[..., Any]
    ) -> None:
        self._recorder = recorder
        self._device = device
        self._real = real
        self._run = run
        self._autotune = autotune
        self._trials: list[Launch] | None = None
        self._codes: dict[str, _Code] = {}

    def run(self, fn: Any, *args: Any, grid: Any = None, warmup: bool = False, **kwargs: Any) -> Any:
        """In place of `JITFunction.run`."""
        if self._recorder.silent or (warmup and self._trials is None):
            return self._run(fn, *args, grid=grid, warmup=warmup or not self._real, **kwargs)
        binder = fn.device_caches[_current_device()][-1]
        bound, specialisation, _ = binder(*args, **kwargs)
        kernel = self._compiled(fn, args, kwargs, grid)
        launch = self._launch(fn, kernel, bound, specialisation, grid(bound) if callable(grid) else grid)
        check_resources(launch, self._device)
        if self._trials is not None:
            self._trials.append(launch.model_copy(update={"trial": True}))
            return kernel
        self._recorder.call([launch])
        return self._run(fn, *args, grid=grid, warmup=False, **kwargs) if self._real else kernel

    def autotune(self, tuner: Any, *args: Any, **kwargs: Any) -> Any:
        """In place of `Autotuner.run`: every configuration is compiled; those without room are left out."""
        if len(tuner.configs) < 2 or self._recorder.silent:
            return self._autotune(tuner, *args, **kwargs)
        tuner.nargs = dict(zip(tuner.arg_names, args, strict=False))
        self._trials, refused = [], None
        try:
            for config in tuner.prune_configs(kwargs):
                known = len(self._recorder.host_ops)
                try:
                    self._try(tuner, config, args, kwargs)
                except (Rejected, *SKIPPED_BY_TUNER) as error:
                    refused = refused or error
                if len(self._trials) != 1:
                    del self._recorder.host_ops[known:]  # hooks run once when the choice is made
            trials = self._trials
        finally:
            self._trials, self._recorder.silent = None, False
        if not trials and refused is not None:
            raise refused
        self._recorder.call(trials)
        return self._tuned_for_real(tuner, args, kwargs) if self._real else None

    def precompiled(self, kernel: Any, grid: Any) -> Any:
        """In place of `CompiledKernel.__getitem__`."""
        raise Rejected(Phase.TRACE, "a compiled kernel is launched directly: launch the jitted function instead")

    def _try(self, tuner: Any, config: Any, args: Any, kwargs: Mapping[str, Any]) -> None:
        current = {**kwargs, **config.all_kwargs()}
        if config.pre_hook is not None:
            config.pre_hook({**tuner.nargs, **current})
        tuner.fn.run(*args, **current)

    def _tuned_for_real(self, tuner: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
        self._recorder.silent = True
        try:
            return self._autotune(tuner, *args, **kwargs)
        finally:
            self._recorder.silent = False

    def _compiled(self, fn: Any, args: Any, kwargs: Mapping[str, Any], grid: Any) -> Any:
        """Compile, and remember that an exception came from compiling."""
        try:
            return self._run(fn, *args, grid=grid, warmup=True, **kwargs)
        except Exception as error:
            self._recorder.compile_errors.append(error)
            raise

    def _launch(self, fn: Any, kernel: Any, bound: Mapping[str, Any], specialisation: Any, grid: Any) -> Launch:
        names = [parameter.name for parameter in fn.params]
        kinds = {name: pair[0] for name, pair in zip(names, specialisation, strict=False)}
        runtime = {name: bound[name] for name in names if kinds[name] != "constexpr"}
        options, code = kernel.metadata._asdict(), self._code(kernel)
        return Launch(
            kernel=fn.fn.__name__,
            grid=_whole_grid(grid),
            num_warps=options["num_warps"],
            num_stages=options["num_stages"],
            num_ctas=options.get("num_ctas", 1),
            shared_bytes=options["shared"],
            registers=code.used.registers,
            spills=code.used.local_bytes,
            signature=tuple((name, str(kinds[name])) for name in names),
            constants=tuple((name, _constant(bound[name])) for name in names if kinds[name] == "constexpr"),
            specialisation=tuple(
                (name, str(pair[1])) for name, pair in zip(names, specialisation, strict=False) if name in runtime
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

    def _code(self, kernel: Any) -> _Code:
        """Digests and resources of compiled code; worked out once, however often it is launched."""
        if kernel.hash not in self._codes:
            ptx, cubin = kernel.asm["ptx"], kernel.asm["cubin"]
            digests = self._recorder.keep_text(ptx, cubin, entry_of(kernel))
            used = resources(cubin, kernel.metadata.name)
            self._codes[kernel.hash] = _Code(*digests, normal_digest(ptx), used)
        return self._codes[kernel.hash]

    def _target(self, value: Any) -> str:
        base = _base(value)
        assert base is not None
        pointer = self._recorder.pointer(base)
        if base is value:
            return pointer
        fields = (value.shape, value.strides, value.block_shape)
        return " ".join([pointer, *(repr([int(number) for number in numbers]) for numbers in fields)])


def check_resources(launch: Launch, device: Device) -> None:
    """Whether one block of the launch has room on the device.

    Raises:
        Rejected: it has not.
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


def launches_something(launch: Launch) -> bool:
    """Whether the grid has any block at all."""
    return prod(launch.grid) > 0


def _current_device() -> int:
    from triton.runtime import driver

    device = driver.active.get_current_device()
    assert isinstance(device, int)
    return device


def _whole_grid(grid: Any) -> tuple[int, int, int]:
    """The grid with its missing dimensions; TypeError for what is no integer, as at a real launch."""
    sizes = [operator.index(size) for size in grid]
    if not 1 <= len(sizes) <= 3 or min(sizes) < 0:
        raise ValueError(f"a grid of one to three sizes is wanted, not {sizes}")
    x, y, z = (*sizes, 1, 1)[:3]
    return x, y, z


def _base(value: Any) -> torch.Tensor | None:
    """The tensor behind a pointer or tensor-descriptor argument."""
    if isinstance(value, torch.Tensor):
        return value
    base = getattr(value, "base", None)
    return base if isinstance(base, torch.Tensor) else None


def _value(value: Any) -> str:
    base = _base(value)
    if base is None:
        return repr(value)
    if base is value:
        return f"{str(base.dtype).removeprefix('torch.')}{[int(size) for size in base.shape]}"
    return f"descriptor of {layout(base)}"


def _constant(value: Any) -> str:
    if inspect.isfunction(value) or isinstance(value, JITFunction):
        return str(value.__name__)
    return re.sub(r"\b0x[0-9a-f]{6,}\b", "0x?", repr(getattr(value, "value", value)))
