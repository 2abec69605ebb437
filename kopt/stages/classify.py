"""Stage classify: the technique vector of every kernel in the pool; the store keeps those that are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from kopt.jobs.kernels import kernel_source
from kopt.jobs.keys import VectorKey
from kopt.model.device import Device
from kopt.model.technique import Technique, TechniqueVector
from kopt.model.trial import RankRow, TechniqueRow
from kopt.provenance import code_digest
from kopt.search.order import dedup
from kopt.stages.evaluate import built_named
from kopt.store import Store
from kopt.techniques.static import classify, cluster_name
from kopt.techniques.taxonomy import taxonomy_digest

Vectors = Callable[[Sequence[RankRow]], Mapping[str, TechniqueVector | None]]
"""A classifier: from rows of the pool to their vectors, by kernel; None where it gives no answer."""


def classify_pool(pool: Sequence[RankRow], earlier: Sequence[TechniqueRow], *, classify: Vectors) -> list[TechniqueRow]:
    """Classify the pool, equal fingerprints merged; rows come fastest first.

    Args:
        pool: the ranked pool.
        earlier: rows of the previous round; a kernel that has one is not new.
        classify: the classifier.
    """
    seen = {row.kernel for row in earlier}
    unique = dedup(pool)
    vectors = classify(unique)
    return [_row(row, vectors[row.kernel], new=row.kernel not in seen) for row in unique]


def classifier(judge: str, techniques: Sequence[Technique], device: Device, store: Store) -> Vectors:
    """Return the classifier by facts of source and PTX; the dry judge builds nothing, so that its vectors are empty.

    Args:
        judge: the run's.
        techniques: the taxonomy, in bit order.
        device: what kernels are built for.
        store: has builds, sources and known vectors; keeps new vectors.
    """
    digest = taxonomy_digest(techniques)
    if judge == "dry":
        empty = TechniqueVector(taxonomy=digest, techniques=(), classifier="dry")
        return lambda rows: dict.fromkeys((row.kernel for row in rows), empty)

    def classify_once(row: RankRow) -> TechniqueVector:
        key = VectorKey(
            kernel=row.kernel, build=row.build, taxonomy=digest, classifier="static",
            code=code_digest("kopt.techniques.static"),
        )  # fmt: skip
        return store.shelf(TechniqueVector).get_or_make(key, lambda: _classify(row, techniques, device, store))

    return lambda rows: {row.kernel: classify_once(row) for row in rows}


def _row(row: RankRow, vector: TechniqueVector | None, *, new: bool) -> TechniqueRow:
    techniques = vector.techniques if vector else ()
    return TechniqueRow(
        kernel=row.kernel, fingerprint=row.fingerprint, techniques=techniques, classified=vector is not None,
        cluster=cluster_name(techniques) if vector else row.kernel, new=new,
    )  # fmt: skip


def _classify(row: RankRow, techniques: Sequence[Technique], device: Device, store: Store) -> TechniqueVector:
    built = built_named(row.build, store)
    launches = [launch for workload in built.workloads for launch in workload.launches]
    ptx = [store.text("ptx", name, ".ptx") for name in dict.fromkeys(launch.ptx for launch in launches)]
    return classify(kernel_source(row.kernel, store), ptx, launches, techniques, device=device)
