"""Classify kernels by facts of source and PTX, without a language model."""

from __future__ import annotations

from collections.abc import Sequence

from kopt.backends.backend import Classifier
from kopt.jobs.builds import built_named
from kopt.jobs.kernels import kernel_source
from kopt.jobs.keys import VectorKey
from kopt.model.device import Device
from kopt.model.technique import Technique, TechniqueVector
from kopt.model.trial import RankRow
from kopt.provenance import code_digest
from kopt.store import Store
from kopt.techniques.static import classify
from kopt.techniques.taxonomy import taxonomy_digest


def classify_by_facts(taxonomy: Sequence[Technique], device: Device, store: Store) -> Classifier:
    """Make a classifier that reads source and PTX, or the technique vector in the store."""
    techniques = tuple(taxonomy)
    digest = taxonomy_digest(techniques)

    def vector_of(row: RankRow) -> TechniqueVector:
        key = VectorKey(
            kernel=row.kernel, build=row.build, taxonomy=digest, classifier="static",
            code=code_digest("kopt.techniques.static"),
        )  # fmt: skip
        return store.shelf(TechniqueVector).get_or_make(key, lambda: _classify(row, techniques, device, store))

    return lambda rows: {row.kernel: vector_of(row) for row in rows}


def _classify(row: RankRow, taxonomy: tuple[Technique, ...], device: Device, store: Store) -> TechniqueVector:
    built = built_named(row.build, store)
    launches = [launch for workload in built.workloads for launch in workload.launches]
    ptx = [store.text("ptx", name, ".ptx") for name in dict.fromkeys(launch.ptx for launch in launches)]
    return classify(kernel_source(row.kernel, store), ptx, launches, taxonomy, device=device)
