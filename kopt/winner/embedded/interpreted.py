"""Run a kernel on a CPU in Triton's interpreter; the text of this module is written into exported files.

`Any`: the interpreter's objects have no types.
"""

import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

INTERPRET = "TRITON_INTERPRET"
"""Environment variable by which Triton interprets kernels; it is read when a kernel is defined."""

MOST_S = 60
"""Longest time of the check in the interpreter, s of a processor."""

SAME = {"fabs": "abs", "rint": "round", "nearbyint": "round"}
"""Functions of CUDA's device library by names that they have in torch, where these differ."""


class TimeIsUp(BaseException):
    """The check has taken `MOST_S`; no error, which the interpreter would turn into one of its own."""


OF_8_BITS = {
    "fp8e4nv": torch.float8_e4m3fn, "fp8e5": torch.float8_e5m2,
    "fp8e4b8": torch.float8_e4m3fnuz, "fp8e5b16": torch.float8_e5m2fnuz,
}  # fmt: skip
"""Floating-point types of 8 bits by the names that Triton gives them."""

WIDER = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32, "fp64": torch.float64}
"""Other floating-point types by the names that Triton gives them."""


class OnCpu(TorchFunctionMode):
    """Have the CPU stand for the GPU that a reference names, also in `torch.autocast`: products have its types then.

    Softmax, norms and sums, which a GPU computes in float32 there, stay in 16 bits.
    """

    def __enter__(self) -> Any:
        """Begin."""
        regions: Any = torch.autocast
        self.make = make = regions.__init__

        def made(region: Any, device_type: str, dtype: Any = None, *rest: Any, **named: Any) -> None:
            make(region, "cpu", dtype or torch.float16, *rest, **named)

        regions.__init__ = made
        mode: Any = super()
        return mode.__enter__()

    def __exit__(self, *error: Any) -> None:
        """End."""
        regions: Any = torch.autocast
        regions.__init__ = self.make
        mode: Any = super()
        mode.__exit__(*error)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function of torch, with the CPU for the GPU that it is given."""
        if func in (torch.Tensor.cuda, torch.Tensor.pin_memory):
            return args[0]
        named = {name: on_cpu(value) for name, value in (kwargs or {}).items()}
        return func(*map(on_cpu, args), **named)


def on_cpu(value: Any) -> Any:
    """Return the CPU for a GPU, and any other value as it is."""
    is_device = isinstance(value, str | torch.device)
    return torch.device("cpu") if is_device and str(value).partition(":")[0] == "cuda" else value


def is_interpreted() -> bool:
    """Return whether Triton interprets kernels in this process."""
    return os.environ.get(INTERPRET, "") not in ("", "0")


def start_interpreted() -> None:
    """Start this script anew in the same process, with Triton's interpreter."""
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, INTERPRET: "1"})


def complete_interpreter() -> None:
    """Give Triton's interpreter what it lacks, and raise `TimeIsUp` after `MOST_S`.

    It has no device library of CUDA, computes with the bits of bfloat16 numbers, reduces by a function of the kernel's
    own element by element, cuts off where it rounds to bfloat16 and loses a carry where it rounds to 8 bits, its
    autotuner asks for a GPU, and that of Triton 3.6 takes no number of a tensor for a loop.
    """
    autotuner: Any = import_module("triton.runtime.autotuner").Autotuner
    autotuner._bench = lambda *_, **__: [0.0, 0.0, 0.0]  # the first configuration is taken
    for place in ("triton.language.extra.libdevice", "triton.language.extra.cuda.libdevice"):
        library = import_module(place)
        for name, function in list(vars(library).items()):
            if callable(function) and not name.startswith("_"):
                setattr(library, name, device_function(name))
    interpreter: Any = import_module("triton.runtime.interpreter")
    interpreter.ReduceOps.generic_reduce = reduced_by_halves
    plain_patch = interpreter._patch_lang_tensor

    def patch(tensor: Any, *scope: Any) -> None:
        plain_patch(tensor, *scope)
        tensor.__index__ = lambda self: self.handle.data.item()  # NumPy 2.4 converts no array of one number

    interpreter._patch_lang_tensor = patch
    import_module("numpy").seterr(all="ignore")  # what a mask leaves out may be divided by zero
    complete_rounding(interpreter)
    complete_bfloat16(interpreter.InterpreterBuilder, interpreter.TensorHandle)

    def late(*_: Any) -> None:
        raise TimeIsUp

    signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, MOST_S)


def device_function(name: str) -> Callable[..., Any]:
    """Return a function of CUDA's device library, computed by torch's function of that name."""
    plain = name.removesuffix("_rn")  # rounded to the nearest, as torch rounds
    compute = fused if plain == "fma" else getattr(torch, SAME.get(plain, plain), None)

    def call(*given: Any, **_: Any) -> Any:
        if compute is None:
            raise NotImplementedError(f"libdevice.{name}")
        interpreter, core = import_module("triton.runtime.interpreter"), import_module("triton.language.core")
        like = max((one for one in given if hasattr(one, "handle")), key=lambda one: one.handle.data.size)
        values = [torch.as_tensor(one.handle.data if hasattr(one, "handle") else float(one)) for one in given]
        result = compute(*values).numpy()
        scalar = core.int1 if result.dtype == bool else like.dtype
        kind = core.block_type(scalar, list(like.shape)) if like.type.is_block() else scalar
        return core.tensor(interpreter.TensorHandle(result, scalar), kind)

    return call


def fused(a: Any, b: Any, c: Any) -> Any:
    """Return a * b + c, rounded once."""
    return (a.double() * b.double() + c.double()).to(c.dtype)


def complete_rounding(interpreter: Any) -> None:
    """Round floating-point numbers as a GPU does: to the nearest even, in 8 bits large ones to the largest."""
    plain = interpreter._convert_float

    def convert(data: Any, source: Any, wanted: Any, mode: Any) -> Any:
        kind, own = OF_8_BITS.get(str(wanted)), WIDER.get(str(source))
        if mode == interpreter._ir.ROUNDING_MODE.RTZ or own is None:
            return plain(data, source, wanted, mode)
        if str(wanted) == "bf16":
            values = torch.from_numpy(data.view(f"int{8 * own.itemsize}")).view(own)
            return values.to(torch.bfloat16).view(torch.int16).numpy().view("uint16")
        if kind is None:
            return plain(data, source, wanted, mode)
        values = torch.from_numpy(data.view(f"int{8 * own.itemsize}")).view(own).float()
        most = torch.finfo(kind).max
        return values.clamp(-most, most).to(kind).view(torch.uint8).numpy()

    interpreter._convert_float = convert


def complete_bfloat16(builder: Any, handle: Any) -> None:
    """Let the builder of Triton's interpreter compute bfloat16 numbers in float32, and round the results."""
    core = import_module("triton.language.core")
    plain_cast, plain_dot = builder.cast_impl, builder.create_dot

    def is_short(one: Any) -> bool:
        return isinstance(one, handle) and one.dtype.scalar == core.bfloat16

    def cast(self: Any, source: Any, kind: Any) -> Any:
        if is_short(source) != (kind.scalar == core.bfloat16):
            source = plain_cast(self, source, core.float32)
        return plain_cast(self, source, kind)

    def wide(self: Any, given: Any) -> list[Any]:
        return [plain_cast(self, one, core.float32) if is_short(one) else one for one in given]

    def widened(operation: Any) -> Any:
        def call(self: Any, *given: Any) -> Any:
            result = operation(self, *wide(self, given))
            rounds = any(map(is_short, given)) and result.data.dtype == "float32"
            return plain_cast(self, result, core.bfloat16) if rounds else result

        return call

    def dot(self: Any, left: Any, right: Any, sum: Any, *rest: Any) -> Any:
        result = plain_dot(self, *wide(self, (left, right, sum)), *rest)
        return plain_cast(self, result, core.bfloat16) if is_short(sum) else result

    def constant(self: Any, value: float) -> Any:
        return plain_cast(self, self.get_fp32(value), core.bfloat16)

    builder.cast_impl, builder.create_dot, builder.get_bf16 = cast, dot, constant
    for name in ("unary_op", "binary_op", "ternary_op", "create_fabs", "create_fma", "create_rsqrt", "create_erf"):
        if hasattr(builder, name):
            setattr(builder, name, widened(getattr(builder, name)))


def reduced_by_halves(self: Any, given: Any) -> list[Any]:
    """Reduce tensors by a function of the kernel's own, pairs of neighbours at once."""
    import numpy as np

    shape = given[0].handle.data.shape
    flat = [one.handle.data.reshape(-1) if self.axis is None else one.handle.data for one in given]
    parts = [np.moveaxis(one, 0 if self.axis is None else self.axis, -1) for one in flat]
    while parts[0].shape[-1] > 1:
        pairs = [
            [self.to_tensor(part[..., at::2], one.dtype) for part, one in zip(parts, given, strict=True)]
            for at in (0, 1)
        ]
        found = self.combine_fn.fn(*pairs[0], *pairs[1])
        found = found if isinstance(found, tuple) else (found,)
        half = pairs[0][0].handle.data.shape
        parts = [np.broadcast_to(one.handle.data if hasattr(one, "handle") else one, half) for one in found]
    results = [part[..., 0] for part in parts]
    if self.keep_dims:
        kept = [1] * len(shape) if self.axis is None else [*shape[: self.axis], 1, *shape[self.axis :][1:]]
        results = [result.reshape(kept) for result in results]
    elif self.axis is None:
        results = [result.item() for result in results]
    return [self.to_tensor(result, one.dtype) for result, one in zip(results, given, strict=True)]
