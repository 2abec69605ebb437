"""Have TorchInductor write its module for a graph, under `kopt.device.build.stub_gpu.pretend`.

Nothing runs, so nothing is timed: of the tiles that TorchInductor offers for a product or a convolution the one is
taken that is predicted to be the fastest.  `Any`: TorchInductor's choices are private classes of torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import torch

from kopt.errors import SeedError
from kopt.model.device import Device
from kopt.seed.graph import ReferenceGraph
from kopt.seed.inductor import Inductor
from kopt.seed.products.row_factors import lay_in_rows
from kopt.seed.products.tensor_cores import products_for_tensor_cores, use_tensor_cores
from kopt.seed.products.time import Product, Tile, seconds

CUDA_VERSION = "12.8"
"""Version of CUDA that torch claims: TorchInductor takes a device without one for another maker's."""


_ATOMIC_LIMITS = ("needs_fallback_due_to_atomic_add_limitations", "use_scatter_fallback")
"""Functions by which TorchInductor asks whether Triton adds atomically into a type."""
_TILE = ("BLOCK_M", "BLOCK_N", "BLOCK_K", "num_stages", "num_warps")
"""Words of a choice's description, in the order of a `Tile`."""


def module_of(
    reference: ReferenceGraph, inductor: Inductor, device: Device, variant: int = 0, *, is_wide: bool = False
) -> str:
    """Return the text of the module that TorchInductor writes for a graph.

    Args:
        reference: the graph.
        inductor: the parts of TorchInductor.
        device: the device to write for.
        variant: place of the wanted tile among those of a product, the fastest by prediction first; where products
            are for the tensor cores, they are the template's first, and then TorchInductor's.
        is_wide: whether products of the graph were made float32.

    Raises:
        SeedError: TorchInductor has no Triton for an operation.
    """
    cuda_version = torch.version.cuda
    choice, templates = inductor.algorithm_choice, inductor.template_choice
    kept = inductor.joint_graph.lazy_init, choice.do_autotuning, choice.make_precompile_fn
    get_template_configs, analysis = templates.get_template_configs, inductor.tiling.extract_normalized_read_writes
    num_splits, values = vars(inductor.scan)["num_splits"], inductor.code_of_values
    keep_stored = values._update_store_cache
    lowerings, adds = inductor.lowerings, [(name, getattr(inductor.lowerings, name)) for name in _ATOMIC_LIMITS]
    for name, function in adds:
        setattr(lowerings, name, _with_whole_numbers(function))
    torch.version.cuda = CUDA_VERSION
    inductor.joint_graph.lazy_init = lambda *args, **kwargs: None  # traces patterns on tensors of a real device
    choice.make_precompile_fn = _nothing_precompiled
    templates.get_template_configs = _with_wide_products(get_template_configs, inductor.bmm_template)
    inductor.tiling.extract_normalized_read_writes = _where_possible(analysis)
    inductor.scan.num_splits = classmethod(_whole(num_splits.__func__))
    values._update_store_cache = _as_it_is_read(keep_stored, inductor.virtual)
    try:
        return _lowered(reference, inductor, device, variant, is_wide)
    finally:
        torch.version.cuda = cuda_version
        inductor.joint_graph.lazy_init, choice.do_autotuning, choice.make_precompile_fn = kept
        templates.get_template_configs, inductor.tiling.extract_normalized_read_writes = get_template_configs, analysis
        inductor.scan.num_splits = num_splits
        values._update_store_cache = keep_stored
        for name, function in adds:
            setattr(lowerings, name, function)


def _with_whole_numbers(falls_back: Any) -> Any:
    """Return the function that lets PyTorch add where Triton cannot, but for int64, which TorchInductor leaves out."""

    def asked(*args: Any) -> Any:
        return falls_back(*(torch.int32 if one is torch.int64 else one for one in args))

    return asked


def _as_it_is_read(keep_stored: Any, virtual: Any) -> Any:
    """Return what keeps a stored value for the rest of its kernel as all others read it: rounded to its buffer's type.

    Else a mean is that of a row before it was rounded, and is subtracted from the row that a later loop loads again.
    """

    def kept(self: Any, name: str, value: Any) -> None:
        dtype = virtual.graph.get_dtype(name)
        if dtype in (torch.bfloat16, torch.float16):
            value = self.to_dtype(self.to_dtype(value, dtype, use_compute_types=False), dtype)
        keep_stored(self, name, value)

    return kept


def _whole(num_splits: Any) -> Any:
    """Return what has one program scan a whole row; for several programs a row TorchInductor has a grid of its own."""
    return lambda *args, **kwargs: (num_splits(*args, **kwargs)[0], 1)


def _lowered(reference: ReferenceGraph, inductor: Inductor, device: Device, variant: int, is_wide: bool) -> str:
    graph, virtual = reference.graph, inductor.virtual
    with (
        torch.no_grad(),
        inductor.config.patch(inductor.settings()),
        virtual.set_fake_mode(reference.mode),
        virtual.set_debug_handler(inductor.debug_context()),
    ):
        if is_wide:
            inductor.fake_tensor_prop(graph, reference.arguments, force_allow_non_fake_inputs=True)
        inductor.joint_passes(graph)
        inductor.view_to_reshape(graph)
        inductor.fake_tensor_prop(graph, reference.arguments, force_allow_non_fake_inputs=True)
        inductor.record_strides(graph)
        inductor.post_passes(graph, is_inference=True)
        large = products_for_tensor_cores(graph, device)
        if large and variant == 0:
            use_tensor_cores(graph, large)
        inductor.algorithm_choice.do_autotuning = _chooser(device, variant - bool(large), _hints(reference))
        lay_in_rows(graph, device, inductor.force_stride_order)
        lowering = inductor.graph_lowering(
            graph, example_inputs=reference.arguments, shape_env=reference.env, graph_id=0, is_inference=True
        )
        with virtual.set_graph_handler(lowering), virtual.set_extern_kernel_nodes([]):
            lowering.run(*reference.arguments)
            code = lowering.codegen()[0]
    return str(getattr(code, "value", code))


def _nothing_precompiled(*args: Any, **kwargs: Any) -> Any:
    """Return what compiles no choice; from Python 3.12 on TorchInductor compiles all of them, on every core at once."""
    return dict


def _where_possible(analysis: Any) -> Any:
    """Return what does without an analysis of memory, as TorchInductor does elsewhere, where torch 2.11 fails in it."""

    def analysed(*args: Any, **kwargs: Any) -> Any:
        try:
            return analysis(*args, **kwargs)
        except AssertionError:
            return None

    return analysed


def _with_wide_products(get_template_configs: Any, template: Any) -> Any:
    """Return what has a template for products wider than their factors, too: torch 2.11 offers it for others alone."""

    def configs(self: Any, inputs: Any, templates: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        offered = [template] if name == "bmm" and not templates else templates
        return get_template_configs(self, inputs, offered, name, *args, **kwargs)

    return configs


def _hints(reference: ReferenceGraph) -> dict[Any, int]:
    """Return the sizes of the first main workload by symbol."""
    sizes = [argument.shape if isinstance(argument, torch.Tensor) else (argument,) for argument in reference.arguments]
    symbols = [size.node for own in sizes for size in own if isinstance(size, torch.SymInt)]
    return {node.expr: node.hint for node in symbols if node.expr.is_symbol}


def _chooser(device: Device, variant: int, hints: dict[Any, int]) -> Any:
    """Return what replaces the timing of choices: it gives each choice its place in the order as its time."""

    def chosen(self: Any, name: str, inputs: Sequence[Any], layout: Any, *args: Any, **kwargs: Any) -> dict[Any, float]:
        choices = next(value for value in (*args, *kwargs.values()) if _are_choices(value))
        triton = [choice for choice in choices if hasattr(choice, "bmreq")]
        if not triton:
            raise SeedError(f"TorchInductor has no Triton for {name}")
        product = _product(name, inputs, layout, hints)
        ranked = sorted(triton, key=lambda choice: _predicted(str(choice.description), product, device))
        ranked.insert(0, ranked.pop(min(max(variant, 0), len(ranked) - 1)))
        return {choice: float(place) for place, choice in enumerate(ranked, start=1)}

    return chosen


def _product(name: str, inputs: Sequence[Any], layout: Any, hints: dict[Any, int]) -> Product:
    """Return the product that TorchInductor chooses a tile for, at the sizes of the first main workload."""

    def known(sizes: Sequence[Any]) -> list[int]:
        return [int(size.subs(hints) if hasattr(size, "subs") else size) for size in sizes]

    out = known(layout.size)
    if "conv" in name:
        weight = inputs[1]
        _, depth, *kernel = known(weight.get_size())
        m, n, batches, taps = out[0] * math.prod(out[2:]), out[1], 1, math.prod(kernel)
        columns_lie = True
    else:
        weight = inputs[1 if "scaled" in name else -1]
        (*_, depth, n), (*_, m, _) = known(weight.get_size()), out
        batches, taps = math.prod(out[:-2]), 1
        columns_lie = known(weight.get_layout().stride)[-2:] == [1, depth]
    dtype = weight.get_dtype()
    return Product(m, n, depth, str(dtype).removeprefix("torch."), dtype.itemsize, batches, taps, columns_lie)


def _are_choices(value: object) -> bool:
    return isinstance(value, Sequence) and bool(value) and all(hasattr(item, "description") for item in value)


def _predicted(description: str, product: Product, device: Device) -> tuple[bool, float]:
    """Return the order of a choice by its description: those with tensor descriptors last, then by predicted time."""
    found = dict(re.findall(r"(BLOCK_[MNK]|num_stages|num_warps)=(\d+)", description))
    if len(found) < len(_TILE):
        return True, math.inf
    tile = Tile(*(int(found[name]) for name in _TILE))
    return "TMA" in description, seconds(product, tile, device)
