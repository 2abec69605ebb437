"""The static classifier: which techniques a kernel uses, from its syntax tree, its PTX and its launches.

A table gives each technique its detector; a detector says where it saw the technique, or None.  Techniques that the
table does not know are never set.  Odd source text is no error: then the PTX speaks alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kopt.model.build import Launch
from kopt.model.device import Device
from kopt.model.technique import Evidence, Technique, TechniqueVector
from kopt.techniques import detect_compute, detect_grid, detect_memory
from kopt.techniques import source as syntax
from kopt.techniques.subject import Seen, Subject
from kopt.techniques.taxonomy import taxonomy_digest

DETECTORS: dict[str, Callable[[Subject], Seen]] = {
    "split_k_reduce": detect_compute.split_k_reduce,
    "tensor_cores": detect_compute.tensor_cores,
    "software_pipelining": detect_memory.software_pipelining,
    "swizzled_load": detect_memory.swizzled_load,
    "persistent_kernel": detect_grid.persistent_kernel,
    "vectorized_load": detect_memory.vectorized_load,
    "shared_memory_tiling": detect_compute.shared_memory_tiling,
    "register_tiling": detect_compute.register_tiling,
    "autotuned_config": detect_grid.autotuned_config,
    "masked_access": detect_memory.masked_access,
    "atomic_reduction": detect_compute.atomic_reduction,
    "precision_split": detect_compute.precision_split,
    "warp_specialization": detect_grid.warp_specialization,
    "thread_block_clusters": detect_grid.thread_block_clusters,
    "grid_swizzling": detect_grid.grid_swizzling,
    "epilogue_fusion": detect_compute.epilogue_fusion,
    "loop_unrolling": detect_memory.loop_unrolling,
    "async_copy_tma": detect_memory.async_copy_tma,
}


def classify(
    source: str, ptx: Sequence[str], launches: Sequence[Launch], taxonomy: Sequence[Technique], *, device: Device
) -> TechniqueVector:
    """Techniques of the taxonomy that a kernel uses, each with its evidence, in the taxonomy's order.

    `ptx` holds the PTX texts of the launches (any order, repeats do no harm); without any, the source speaks alone.
    """
    subject = Subject(syntax.read(source), tuple(dict.fromkeys(ptx)), tuple(launches), device)
    evidence = [
        Evidence(technique=technique.name, where=seen[0], what=seen[1])
        for technique in taxonomy
        if (detector := DETECTORS.get(technique.name)) and (seen := detector(subject))
    ]
    return TechniqueVector(
        taxonomy=taxonomy_digest(taxonomy),
        techniques=tuple(one.technique for one in evidence),
        evidence=tuple(evidence),
        classifier="static",
    )


def cluster_name(techniques: Sequence[str]) -> str:
    """Name of the cluster of kernels that use exactly these techniques: joined by `+`, `none` without any."""
    return "+".join(techniques) or "none"
