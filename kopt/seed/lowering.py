"""Have TorchInductor write its module for a graph, under `kopt.device.build.stub_gpu.pretend`.

Nothing runs, so nothing is timed: of the algorithms that TorchInductor offers for a product or a convolution the one is
taken whose tile is nearest to the wanted one.  `Any`: TorchInductor's choices are private classes of torch.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from kopt.errors import SeedError
from kopt.seed.graph import ReferenceGraph
from kopt.seed.inductor import Inductor

CUDA_VERSION = "12.8"
"""Version of CUDA that torch claims: TorchInductor takes a device without one for another maker's."""


@dataclass(frozen=True)
class Tile:
    """The tile that is wanted for products and convolutions."""

    m: int = 128
    n: int = 128
    k: int = 32
    stages: int = 3
    warps: int = 8


TILES = (Tile(), Tile(64, 64, 32, 3, 4), Tile(128, 64, 64, 3, 4))
"""Tiles that are tried, the first one first."""


def module_of(reference: ReferenceGraph, inductor: Inductor, tile: Tile, *, is_wide: bool = False) -> str:
    """Return the text of the module that TorchInductor writes for a graph.

    Args:
        reference: the graph.
        inductor: the parts of TorchInductor.
        tile: the tile that is wanted.
        is_wide: whether products of the graph were made float32.

    Raises:
        SeedError: TorchInductor has no Triton for an operation.
    """
    cuda_version = torch.version.cuda
    choice, templates = inductor.algorithm_choice, inductor.template_choice
    kept = inductor.joint_graph.lazy_init, choice.do_autotuning, choice.make_precompile_fn
    get_template_configs, analysis = templates.get_template_configs, inductor.tiling.extract_normalized_read_writes
    num_splits = vars(inductor.scan)["num_splits"]
    torch.version.cuda = CUDA_VERSION
    inductor.joint_graph.lazy_init = lambda *args, **kwargs: None  # traces patterns on tensors of a real device
    choice.do_autotuning = _chooser(tile)
    choice.make_precompile_fn = _nothing_precompiled
    templates.get_template_configs = _with_wide_products(get_template_configs, inductor.bmm_template)
    inductor.tiling.extract_normalized_read_writes = _where_possible(analysis)
    inductor.scan.num_splits = classmethod(_whole(num_splits.__func__))
    try:
        return _lowered(reference, inductor, is_wide)
    finally:
        torch.version.cuda = cuda_version
        inductor.joint_graph.lazy_init, choice.do_autotuning, choice.make_precompile_fn = kept
        templates.get_template_configs, inductor.tiling.extract_normalized_read_writes = get_template_configs, analysis
        inductor.scan.num_splits = num_splits


def _whole(num_splits: Any) -> Any:
    """Return what has one program scan a whole row; for several programs a row TorchInductor has a grid of its own."""
    return lambda *args, **kwargs: (num_splits(*args, **kwargs)[0], 1)


def _lowered(reference: ReferenceGraph, inductor: Inductor, is_wide: bool) -> str:
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


def _chooser(tile: Tile) -> Any:
    """Return what replaces the timing of choices: it gives each choice its place in the order as its time."""

    def chosen(self: Any, name: str, *args: Any, **kwargs: Any) -> dict[Any, float]:
        choices = next(value for value in (*args, *kwargs.values()) if _are_choices(value))
        triton = [choice for choice in choices if hasattr(choice, "bmreq")]
        if not triton:
            raise SeedError(f"TorchInductor has no Triton for {name}")
        ranked = sorted(triton, key=lambda choice: _distance(str(choice.description), tile))
        return {choice: float(place) for place, choice in enumerate(ranked, start=1)}

    return chosen


def _are_choices(value: object) -> bool:
    return isinstance(value, Sequence) and bool(value) and all(hasattr(item, "description") for item in value)


def _distance(description: str, tile: Tile) -> float:
    """Return how far the tile of a choice is from the wanted one, in halvings and doublings."""

    def of(name: str, wanted: int) -> int:
        found = re.search(rf"{name}=(\d+)", description)
        return abs(int(found.group(1)).bit_length() - wanted.bit_length()) if found else 4

    size = 4 * of("BLOCK_M", tile.m) + 4 * of("BLOCK_N", tile.n) + 2 * of("BLOCK_K", tile.k)
    return size + of("num_stages", tile.stages) + of("num_warps", tile.warps) + 8 * ("TMA" in description)
