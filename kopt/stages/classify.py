"""Stage `classify`: find the technique vector of every kernel in the pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from kopt.backends.backend import Classifier
from kopt.model.asking import Asking
from kopt.model.base import Value
from kopt.model.technique import TechniqueVector
from kopt.model.trial import RankRow, TechniqueRow
from kopt.search.order import dedup
from kopt.techniques.static import cluster_name


class ClassifySettings(Value):
    """Settings of the rule classify."""

    backend: str
    classifier: str
    """Language model that classifies; empty where facts classify."""
    classification: Literal["static", "llm", "both"]
    classifier_concurrency: int
    """Most concurrent calls of the classifier."""
    classifier_asking: Asking | None
    """Source and limits of the classifier's replies; None where facts classify."""


def classify_pool(
    pool: Sequence[RankRow], earlier: Sequence[TechniqueRow], *, classify: Classifier
) -> list[TechniqueRow]:
    """Classify the pool, with equal fingerprints merged; rows are in order of time.

    Args:
        pool: the ranked pool.
        earlier: rows of the previous round; their kernels are not new.
        classify: the classifier.
    """
    seen = {row.kernel for row in earlier}
    unique = dedup(pool)
    vectors = classify(unique)
    return [_row(row, vectors[row.kernel], new=row.kernel not in seen) for row in unique]


def _row(row: RankRow, vector: TechniqueVector | None, *, new: bool) -> TechniqueRow:
    techniques = vector.techniques if vector else ()
    return TechniqueRow(
        kernel=row.kernel, fingerprint=row.fingerprint, techniques=techniques, classified=vector is not None,
        cluster=cluster_name(techniques) if vector else row.kernel, new=new,
    )  # fmt: skip
