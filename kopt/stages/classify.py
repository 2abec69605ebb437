"""Stage classify: the technique vector of every kernel in the pool; only new ones are classified."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kopt.jobs.keys import KERNEL, VectorKey
from kopt.model.device import Device
from kopt.model.technique import Technique, TechniqueVector
from kopt.model.trial import RankRow, TechniqueRow
from kopt.provenance import code_digest
from kopt.search.order import dedup
from kopt.stages.evaluate import built_named
from kopt.store import Store
from kopt.techniques.static import classify, cluster_name
from kopt.techniques.taxonomy import load, taxonomy_digest

Vectors = Callable[[Sequence[RankRow]], Mapping[str, TechniqueVector | None]]
"""From rows of the pool to their vectors, by kernel; None where the classifier gave no answer."""


def classify_pool(pool: Sequence[RankRow], known: Sequence[TechniqueRow], *, classify: Vectors) -> list[TechniqueRow]:
    """Vectors of the deduplicated pool, fastest first.

    Args:
        pool: the ranked pool.
        known: rows of the previous round; a kernel that is there is not new.
        classify: the classifier.
    """
    seen = {row.kernel for row in known}
    unique = dedup(pool)
    vectors = classify(unique)
    return [_row(row, vectors[row.kernel], new=row.kernel not in seen) for row in unique]


def classifier(judge: str, taxonomy: Path, device: Device, store: Store) -> Vectors:
    """The classifier that goes with a judge: static facts of source and PTX; without a build, none."""
    techniques = load(taxonomy)
    digest = taxonomy_digest(techniques)
    if judge == "dry":
        nothing = TechniqueVector(taxonomy=digest, techniques=(), classifier="dry")
        return lambda rows: dict.fromkeys((row.kernel for row in rows), nothing)

    def classify_known(row: RankRow) -> TechniqueVector:
        key = VectorKey(
            kernel=row.kernel, build=row.build, taxonomy=digest, classifier="static",
            code=code_digest("kopt.techniques.static"),
        )  # fmt: skip
        return store.shelf(TechniqueVector).get_or_make(key, lambda: _classify(row, techniques, device, store))

    return lambda rows: {row.kernel: classify_known(row) for row in rows}


def _row(row: RankRow, vector: TechniqueVector | None, *, new: bool) -> TechniqueRow:
    techniques = vector.techniques if vector else ()
    return TechniqueRow(
        kernel=row.kernel, fingerprint=row.fingerprint, techniques=techniques, classified=vector is not None,
        cluster=cluster_name(techniques) if vector else row.kernel, new=new,
    )  # fmt: skip


def _classify(row: RankRow, taxonomy: tuple[Technique, ...], device: Device, store: Store) -> TechniqueVector:
    built = built_named(row.build, store)
    launches = [launch for workload in built.workloads for launch in workload.launches]
    ptx = [store.text("ptx", name, ".ptx") for name in dict.fromkeys(launch.ptx for launch in launches)]
    return classify(store.text(KERNEL, row.kernel, ".py"), ptx, launches, taxonomy, device=device)
