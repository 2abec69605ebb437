"""Diagnose and classify kernels by facts of source, build and profile, without a language model."""

from __future__ import annotations

from collections.abc import Sequence

from kopt.backends.backend import Classifier, Diagnoser
from kopt.jobs.builds import built_named
from kopt.jobs.kernels import kernel_source
from kopt.jobs.keys import VectorKey
from kopt.jobs.target import ProblemOnTarget
from kopt.model.device import Device
from kopt.model.diagnosis import Diagnosis, Profile
from kopt.model.technique import Technique, TechniqueVector
from kopt.model.trial import RankRow, SelectionRow
from kopt.provenance import code_digest
from kopt.search.diagnose import diagnose
from kopt.store import Store
from kopt.techniques.static import classify
from kopt.techniques.taxonomy import taxonomy_digest


def diagnose_by_rules(target: ProblemOnTarget, count: int) -> Diagnoser:
    """Make a diagnoser that ranks `count` directions by rules over profile, roofline and build."""

    def diagnoser(row: SelectionRow, profile: Profile | None) -> Diagnosis:
        assert profile is not None
        built = built_named(row.build, target.store)
        return diagnose(row.kernel, profile, built, row.techniques, target.facts, target.device, count)

    return diagnoser


def classify_by_facts(taxonomy: Sequence[Technique], device: Device, store: Store) -> Classifier:
    """Make a classifier that reads source and PTX; a vector in the store is not made again."""
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
