"""Hold the private names of TorchInductor that seeds are made with: no other module of kopt uses them.

They differ between versions of torch.  A name that is missing is one clear error, which names it.  `Any`: none of these
parts of torch is typed or public.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from typing import Any

import torch

from kopt.errors import SeedError

KNOWN = ("2.11", "2.13")
"""Versions of torch that have these names."""

_NAMES = {
    "config": "torch._inductor:config",
    "joint_passes": "torch._inductor.compile_fx:_recursive_joint_graph_passes",
    "post_passes": "torch._inductor.compile_fx:_recursive_post_grad_passes",
    "record_strides": "torch._inductor.compile_fx:_recursive_record_original_output_strides",
    "fake_tensor_prop": "torch._inductor.compile_fx:fake_tensor_prop",
    "view_to_reshape": "torch._inductor.compile_fx:view_to_reshape",
    "debug_context": "torch._inductor.debug:DebugContext",
    "decompositions": "torch._inductor.decomposition:select_decomp_table",
    "graph_lowering": "torch._inductor.graph:GraphLowering",
    "algorithm_choice": "torch._inductor.select_algorithm:AlgorithmSelectorCache",
    "template_choice": "torch._inductor.choices:InductorChoices",
    "force_stride_order": "torch._inductor.inductor_prims:force_stride_order",
    "bmm_template": "torch._inductor.kernel.bmm:bmm_template",
    "scan": "torch._inductor.ir:Scan",
    "code_of_values": "torch._inductor.codegen.common:CSEProxy",
    "joint_graph": "torch._inductor.fx_passes.joint_graph",
    "lowerings": "torch._inductor.lowering",
    "tiling": "torch._inductor.tiling_utils",
    "virtual": "torch._inductor.virtualized:V",
    "grid_expression": "torch._inductor.runtime.triton_heuristics:GridExpr",
    "triton_helpers": "torch._inductor.runtime.triton_helpers",
    "constant_source": "torch._dynamo.source:ConstantSource",
    "shape_env": "torch.fx.experimental.symbolic_shapes:ShapeEnv",
    "dim_dynamic": "torch.fx.experimental.symbolic_shapes:DimDynamic",
    "node_meta": "torch.fx.traceback:preserve_node_meta",
}

SETTINGS: dict[str, Any] = {
    "max_autotune": True,
    "max_autotune_gemm_backends": "TRITON",
    "max_autotune_conv_backends": "TRITON",
    "coordinate_descent_tuning": True,  # products with a vector become reductions
    "benchmark_epilogue_fusion": False,
    "comprehensive_padding": False,
    "joint_graph_constant_folding": False,  # would make tensors on a real device
    "layout_optimization": False,  # copies to channels last
    "shape_padding": False,
    "graph_partition": False,
    "compile_threads": 1,
    "autotune_in_subproc": False,
    "pipeline_max_autotune_gemm": False,
    "deterministic": False,  # would take another choice
    "size_asserts": False,
    "scalar_asserts": False,
    "assert_indirect_indexing": False,
    "prologue_fusion": False,  # writes blocks of other ranks than the product that reads them
    "fx_graph_cache": False,
    "unroll_reductions_threshold": 32,  # windows of pooling are read one after the other
    "force_disable_caches": True,
    "triton.num_decompose_k_splits": 0,
    "triton.descriptive_names": "original_aten",
    "triton.unique_kernel_names": True,
    "triton.cooperative_reductions": False,
    "triton.multi_kernel": 0,
}
"""Settings of TorchInductor; one that a version does not have is left out."""


_DEVICES = "torch._dynamo.device_interface"
"""Module of torch by which TorchInductor asks for the device."""


@dataclass(frozen=True)
class Inductor:
    """The parts of TorchInductor, by the names of `_NAMES`."""

    config: Any
    joint_passes: Any
    post_passes: Any
    record_strides: Any
    fake_tensor_prop: Any
    view_to_reshape: Any
    debug_context: Any
    decompositions: Any
    graph_lowering: Any
    algorithm_choice: Any
    template_choice: Any
    force_stride_order: Any
    bmm_template: Any
    scan: Any
    code_of_values: Any
    joint_graph: Any
    lowerings: Any
    tiling: Any
    virtual: Any
    grid_expression: Any
    triton_helpers: Any
    constant_source: Any
    shape_env: Any
    dim_dynamic: Any
    node_meta: Any

    def settings(self) -> dict[str, Any]:
        """Return the settings that this version of torch has."""
        return {name: value for name, value in SETTINGS.items() if _has(self.config, name)}


def load() -> Inductor:
    """Import TorchInductor, under `kopt.device.build.stub_gpu.pretend`.

    Raises:
        SeedError: this version of torch lacks one of the names.
    """
    if loaded := sys.modules.get(_DEVICES):
        importlib.reload(
            loaded
        )  # it takes functions of torch.cuda when it is imported: they must be the pretended ones
    _forget_triton()
    return Inductor(**{name: _found(place) for name, place in _NAMES.items()})


def _forget_triton() -> None:
    """Let torch look for Triton again: what it found without the stub of a GPU, it keeps."""
    for value in vars(importlib.import_module("torch.utils._triton")).values():
        if hasattr(value, "cache_clear"):
            value.cache_clear()


def _found(place: str) -> Any:
    module, _, name = place.partition(":")
    try:
        found = importlib.import_module(module)
        return getattr(found, name) if name else found
    except (ImportError, AttributeError) as error:
        raise SeedError(
            f"torch {torch.__version__} has no {place.replace(':', '.')}, which seeds are made with: torch "
            f"{' and '.join(KNOWN)} have it"
        ) from error


def _has(config: Any, path: str) -> bool:
    for name in path.split("."):
        if not hasattr(config, name):
            return False
        config = getattr(config, name)
    return True
