"""Run launches in this process: Triton's front end makes TTIR of a kernel, which is translated and run with NumPy.

`install` changes the Triton of this process for good, on behalf of one session.  Compiling ends with TTIR; everything
before that (binding of arguments, specialisation, hooks, grids) is Triton's own.  Launches are counted and recorded,
and can be left out.  An autotuner takes one of its configurations, another one for each call, and measures nothing.
`Any` stands for objects of Triton: Triton ships no types.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property, partial, wraps
from itertools import product
from typing import Any

import numpy as np
import torch
import triton
from triton._C.libtriton import ir
from triton.compiler import compiler
from triton.compiler.errors import CompileTimeAssertionFailure
from triton.runtime.autotuner import Autotuner
from triton.runtime.errors import OutOfResources, PTXASError
from triton.runtime.jit import TensorWrapper
from triton.tools.tensor_descriptor import TensorDescriptor

from kopt.device.build.cubin import resources
from kopt.device.interpret import memory, numbers, ttir
from kopt.device.interpret.interpreted_call import storage_range
from kopt.device.interpret.schedule import Schedule, Turn
from kopt.device.interpret.session import OutOfBounds, Session, Unsupported
from kopt.device.interpret.translate import KernelFunction, translate
from kopt.device.reference.rejection import address_reason

_FLOATS = {
    torch.float16: "f16", torch.bfloat16: "bf16", torch.float32: "f32", torch.float64: "f64",
    **{dtype: element for element, dtype in numbers.EIGHT_BITS.items()},
}  # fmt: skip
"""Element types by torch's floating-point types."""


def install(session: Session) -> None:
    """Have launches of this process interpreted, on behalf of `session`."""
    np.seterr(all="ignore")

    @wraps(compiler.compile)
    def compiled(source: Any, target: Any = None, options: Any = None, _env_vars: Any = None) -> Any:
        if not isinstance(source, compiler.ASTSource):
            raise Unsupported("the interpreter runs kernels in Triton's language, not those that are given as text")
        target = target or triton.runtime.driver.active.get_current_target()
        parsed = compiler.make_backend(target).parse_options(dict(options or {}))
        kernel = compiler.CompiledKernel.__new__(compiler.CompiledKernel)
        _INTERPRETED[id(kernel)] = InterpretedKernel(source, target, parsed, session)
        kernel.src, kernel.name, kernel.hash = source, source.name, source.hash()
        kernel.module, kernel.function, kernel.packed_metadata, kernel._run = None, 0, None, None
        return kernel

    triton.compile = triton.compiler.compile = compiled
    Autotuner.run = lambda self, *args, **options: _run_one_configuration(session, self, args, options)
    compiler.CompiledKernel._init_handles = lambda self: None
    compiler.CompiledKernel.run = property(lambda self: _INTERPRETED[id(self)].launch)
    compiler.CompiledKernel.__getattr__ = lambda self, name: _INTERPRETED[id(self)].compiled(name)


class InterpretedKernel:
    """A kernel that is interpreted; it is compiled only where the candidate asks for what a compiler knows of it."""

    def __init__(self, source: Any, target: Any, options: Any, session: Session) -> None:
        self._source, self._target, self._options, self._session = source, target, options, session
        backend = compiler.make_backend(target)
        context = ir.context()
        ir.load_dialects(context)
        backend.load_dialects(context)
        implementations = backend.get_codegen_implementation(options)
        module = source.make_ir(target, options, implementations, backend.get_module_map(), context)
        with session.at("interpreter"):
            module = backend.make_ttir(module, {}, options, target.arch)
            # MLIR writes the generic form of a module that breaks a rule: this attribute has no dialect.
            module.set_attr("generic", ir.builder(context).get_int32_attr(1))
            file = source.fn.fn.__code__.co_filename
            functions = ttir.read(str(module), file)
            entry = next(function for function in functions.values() if function.public)
            self._types = entry.body.blocks[0].types
            self._kernel: KernelFunction = translate(functions, source.fn.fn.__name__, file)

    def launch(
        self, x: int, y: int, z: int, stream: Any, function: Any, packed: Any, metadata: Any, enter: Any, leave: Any,
        *args: Any,
    ) -> None:  # fmt: skip
        """Launch, as the function `run` of Triton's compiled kernels does."""
        session = self._session
        session.launches += 1
        if enter is not None:
            enter(metadata)
        _check_tensors(args)
        if not session.ghost:
            grid = (int(x), int(y), int(z))
            session.empty |= min(grid) <= 0
            session.record_launch(lambda: self._interpret(grid, args))
            self._interpret(grid, args)
        if leave is not None:
            leave(metadata)

    def _interpret(self, grid: tuple[int, int, int], args: tuple[Any, ...]) -> None:
        session = self._session
        with session.at("kernel"):
            session.ranges = sorted(set(_ranges(args)))
            flat = list(_flat(list(self._source.signature.values()), args))
            values = [_argument(value, kind) for value, kind in zip(flat, self._types, strict=True)]
            _check_addresses(values, self._types, session)
            sizes = tuple(np.int32(size) for size in grid)
            places = product(*(range(size) for size in grid))
            Schedule([partial(self._run_program, at, place, sizes, values) for at, place in enumerate(places)]).run()

    def _run_program(self, number: int, place: tuple[int, ...], sizes: Any, values: list[Any], turn: Turn) -> None:
        shared = memory.Memory(self._session, number, turn)
        self._kernel(shared, tuple(np.int32(index) for index in place), sizes, *values)

    def compiled(self, name: str) -> Any:
        """Return the attribute of the compiled kernel that has this name.

        Raises:
            AttributeError: compiled kernels have no such attribute.
        """
        if name not in ("metadata", "asm", "kernel", "metadata_group", "n_regs", "n_spills", "n_max_threads"):
            raise AttributeError(f"'CompiledKernel' object has no attribute {name!r}")
        kernel = self._by_compiler
        if not name.startswith("n_"):
            return getattr(kernel, name)
        used = resources(kernel.asm["cubin"], kernel.metadata.name)
        return {"n_regs": used.registers, "n_spills": used.local_bytes // 4, "n_max_threads": 1024}[name]

    @cached_property
    def _by_compiler(self) -> Any:
        return compiler.compile(self._source, target=self._target, options=self._options.__dict__)


_INTERPRETED: dict[int, InterpretedKernel] = {}
"""Interpreted kernels by the identity of the compiled kernel that stands for them, which lives as long."""


# --- arguments --------------------------------------------------------------------------------------------------------


def _flat(signature: Any, values: Any) -> Iterator[Any]:
    """Yield the arguments that the translated kernel takes, those in tuples and descriptors one by one."""
    for kind, value in zip(signature, values, strict=True):
        if isinstance(kind, tuple | list):
            yield from _flat(kind, value)
        elif kind == "constexpr":
            continue
        elif isinstance(value, TensorDescriptor):
            yield _descriptor(value)
            yield from (*value.shape, *value.strides)
        else:
            yield value


def _argument(value: Any, kind: ttir.Type) -> Any:
    """Return an argument as a kernel sees it."""
    if kind.element == "descriptor":
        return value
    if kind.element == "ptr":
        return np.int64(0 if value is None else value.data_ptr())
    if kind.element == "i1":
        return np.bool_(value)
    if numbers.is_floating(kind.element):
        return numbers.rounded(np.array(value, np.float64), kind.element)
    bits = 8 * numbers.held(kind.element).itemsize
    return np.array(int(value) & ((1 << bits) - 1), f"u{bits // 8}").view(numbers.held(kind.element))[()]


def _check_addresses(values: Iterable[Any], kinds: Iterable[ttir.Type], session: Session) -> None:
    """Check that no number among the arguments is an address.

    Raises:
        OutOfBounds: one is.
    """
    for place, (value, kind) in enumerate(zip(values, kinds, strict=True)):
        if kind.element == "i64" and any(start <= value < end for start, end in session.ranges):
            raise OutOfBounds(address_reason(place))


def _descriptor(value: Any) -> memory.Descriptor:
    base = value.base.base if isinstance(value.base, TensorWrapper) else value.base
    element = _FLOATS.get(base.dtype) or f"i{8 * base.element_size()}"
    nan = value.padding == "nan"
    return memory.make_descriptor(base.data_ptr(), value.shape, value.strides, value.block_shape, element, nan)


def _check_tensors(values: Iterable[Any]) -> None:
    """Check that arguments which look like tensors are tensors.

    An object of another class could run code of the candidate while its address is read.

    Raises:
        TypeError: an argument only looks like a tensor.
    """
    for value in _unwrapped(values):
        if hasattr(value, "data_ptr") and type(value) not in (torch.Tensor, torch.nn.Parameter):
            raise TypeError(f"a {type(value).__name__} is passed to a kernel as a tensor: pass a torch.Tensor")


def _ranges(values: Iterable[Any]) -> Iterator[tuple[int, int]]:
    """Yield first address and end of the storage of every tensor among the arguments."""
    for value in _unwrapped(values):
        if hasattr(value, "untyped_storage"):
            yield storage_range(value)


def _unwrapped(values: Iterable[Any]) -> Iterator[Any]:
    """Yield the arguments, those in tuples one by one, and instead of a descriptor or wrapper its tensor."""
    for value in values:
        if isinstance(value, tuple | list):
            yield from _unwrapped(value)
        elif isinstance(value, TensorDescriptor | TensorWrapper):
            yield from _unwrapped([value.base])
        else:
            yield value


# --- autotuners -------------------------------------------------------------------------------------------------------


def _run_one_configuration(session: Session, tuner: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Launch with one configuration, as an autotuner does once it has measured; nothing is reset or restored.

    A configuration that no call has run yet is taken before others, and one that the kernel's pruning keeps before one
    that the pruning leaves out.  A configuration that an autotuner drops, since it cannot be compiled, is passed over.
    """
    tuner.nargs = dict(zip(tuner.arg_names, args, strict=False))
    kept = list(tuner.prune_configs(options)) if len(tuner.configs) > 1 else list(tuner.configs)
    left = session.configurations.setdefault(_name_of(tuner), _distinct(tuner))
    wanted = [one for one in kept if _computes(one) in map(_computes, left)]
    turned = [kept[(session.turn + at) % len(kept)] for at in range(len(kept))]
    choices = wanted or turned
    if session.further and left and not wanted:
        session.pruned = f"with {left[0]}, which the kernel's pruning leaves out at every small workload"
        choices = [left[0], *turned]
    dropped: Exception | None = None
    for chosen in choices:
        left[:] = [one for one in left if _computes(one) != _computes(chosen)]
        try:
            return _run_configuration(tuner, chosen, args, options)
        except (OutOfResources, CompileTimeAssertionFailure, PTXASError) as error:
            dropped = error
    assert dropped is not None
    raise dropped


def _run_configuration(tuner: Any, chosen: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    tuner.best_config = chosen
    if chosen.pre_hook is not None:
        chosen.pre_hook({**tuner.nargs, **options, **chosen.all_kwargs()})
    return tuner.fn.run(*args, **options, **chosen.all_kwargs())


def _name_of(tuner: Any) -> str:
    """Return a name of an autotuner that stays the same when its module is imported again."""
    return f"{tuner.base_fn.__qualname__} {tuner.base_fn.__code__.co_firstlineno}"


def _computes(configuration: Any) -> str:
    """Return what a configuration computes by: its constants and its hook, not its warps and stages."""
    hook = getattr(configuration.pre_hook, "__qualname__", configuration.pre_hook)
    return repr((sorted(configuration.kwargs.items()), hook))


def _distinct(tuner: Any) -> list[Any]:
    return list({_computes(configuration): configuration for configuration in tuner.configs}.values())
