"""Classify kernels by facts: find techniques in the syntax tree, the PTX and the launches.

Each technique has a detector, which says where it saw the technique.  A technique without a detector (a user's own
entry of the taxonomy) is never found.  Kernels that stand in a module and are never launched do not count.  Source
text that is no Python is no error: then the PTX alone is asked.
"""

from __future__ import annotations

from collections.abc import Sequence

from kopt.model.build import Launch
from kopt.model.device import Device
from kopt.model.technique import Evidence, Technique, TechniqueVector
from kopt.techniques import detect_compute, detect_grid, detect_memory
from kopt.techniques import source as syntax
from kopt.techniques.detector import Detector, Subject
from kopt.techniques.taxonomy import taxonomy_digest

DETECTORS: dict[str, Detector] = {
    detector.technique: detector
    for module in (detect_compute, detect_grid, detect_memory)
    for detector in module.DETECTORS
}
"""All detectors by technique."""


def classify(
    source: str, ptx: Sequence[str], launches: Sequence[Launch], taxonomy: Sequence[Technique], *, device: Device
) -> TechniqueVector:
    """Find the techniques of the taxonomy that a kernel uses, each with its evidence, in the taxonomy's order.

    Args:
        source: the kernel's module.
        ptx: PTX texts of the launches in any order, repeats allowed; without any, the source alone is asked.
        launches: the launches of the kernel.
        taxonomy: the techniques to look for.
        device: the GPU that the kernel was built for.
    """
    living = syntax.without_dead_kernels(syntax.read(source), {launch.kernel for launch in launches})
    subject = Subject(living, tuple(dict.fromkeys(ptx)), tuple(launches), device)
    evidence = [
        Evidence(technique=technique.name, where=seen[0], what=seen[1])
        for technique in taxonomy
        if (detector := DETECTORS.get(technique.name)) and (seen := detector.detect(subject))
    ]
    return TechniqueVector(
        taxonomy=taxonomy_digest(taxonomy),
        techniques=tuple(seen.technique for seen in evidence),
        evidence=tuple(evidence),
        classifier="static",
    )


def is_provable(technique: str) -> bool:
    """Return whether the static classifier decides a technique beyond doubt."""
    return technique in DETECTORS and DETECTORS[technique].proves


def cluster_name(techniques: Sequence[str]) -> str:
    """Name the cluster of kernels that use exactly these techniques: joined by `+`, `none` without any."""
    return "+".join(techniques) or "none"
