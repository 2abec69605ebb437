"""Collect the measurements of a finished search on a GPU, from its folder and its store, for an archive."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from kopt.artifact import read_value
from kopt.errors import ConfigError, StoreError
from kopt.jobs.recorded import find_build, measurements_in
from kopt.model.build import Build, BuildFailed, Phase
from kopt.model.device import Toolchain
from kopt.model.diagnosis import ParentProfile
from kopt.model.measurements import Measurements, RankedTime, RecordedBuild, RecordedProfile, RecordedVerdict
from kopt.model.technique import TechniqueVector
from kopt.model.timing import Finals, Recorded
from kopt.model.trial import BuildRow, EvaluationRow
from kopt.model.verdict import Failed, Incorrect, Passed, Verdict
from kopt.run.manifest import Manifest
from kopt.run.results import result_digests
from kopt.run.value import Run
from kopt.run_settings import RunSettings
from kopt.store import Store

MEASURED_BY = ("cuda", "recorded")
"""Backends whose measurements are packed; estimates and made-up times are made anew by a replay."""


def measurements_of(run: Run, folder: Path, manifest: Manifest, store: Store, root: Path) -> Measurements | None:
    """Return what a search measured on a GPU; None for a search that measured nothing.

    Args:
        run: the finished run.
        folder: the run's folder.
        manifest: the run's manifest.
        store: the store that the run used.
        root: the project's root, below which the taxonomy lies.

    Raises:
        ConfigError: the store lacks something that a replay needs.
        StoreError: a file of the store cannot be read.
    """
    settings = RunSettings(run.config)
    if settings.backend not in MEASURED_BY or run.outcome is None:
        return None
    if settings.replayed:
        return measurements_in(store)
    tables = [round.tables for round in run.rounds]
    try:
        return Measurements(
            judge=settings.backend,
            versions=manifest.versions,
            toolchain=Toolchain(
                torch=manifest.versions["torch"], triton=manifest.versions["triton"], arch=run.device.arch
            ),
            device=run.device,
            facts=run.facts,
            baseline=read_value(folder / "baseline.json", Finals),
            outcome=run.outcome,
            builds=tuple(_builds((row for each in tables for row in each.builds), store)),
            verdicts=tuple(_verdicts((row for each in tables for row in each.evaluations), store)),
            rankings=tuple(
                tuple(RankedTime(**row.model_dump(include=set(RankedTime.model_fields))) for row in each.pool)
                for each in tables
            ),
            vectors=_vectors(run, settings, store, root),
            profiles=tuple(_profiles(run, folder)),
            estimates=_estimates(run, store) if run.config.screen else {},
            results=result_digests(run),
        )  # fmt: skip
    except StoreError as error:
        raise ConfigError(f"no recording of {folder} can be made: {error}") from error


def _builds(rows: Iterable[BuildRow], store: Store) -> Iterator[RecordedBuild]:
    seen = set[str]()
    for row in rows:
        if row.kernel and row.kernel not in seen:
            seen.add(row.kernel)
            yield RecordedBuild(kernel=row.kernel, name=row.build, build=_build(row, store))


def _build(row: BuildRow, store: Store) -> Build:
    build = find_build(row.build, store)
    if build is not None:
        return build
    if row.status == "built":
        raise StoreError(f"build {row.build[:12]} is not in {store.root}: name the store that the run used, --store")
    return BuildFailed(phase=Phase(row.phase), reason=row.reason)  # one that the store did not keep


def _verdicts(rows: Iterable[EvaluationRow], store: Store) -> Iterator[RecordedVerdict]:
    for row in rows:
        if row.verdict != "screened":
            yield RecordedVerdict(
                kernel=row.kernel, verdict=_verdict(row, store), time=_time(row), evaluation=row.evaluation
            )


def _verdict(row: EvaluationRow, store: Store) -> Verdict:
    """Return the verdict of a row with its checks; without them where the store did not keep it."""
    from kopt.jobs.keys import VerdictKey

    stored: Verdict | None = store.shelf(Verdict).named(VerdictKey, row.evaluation)
    if stored is not None and stored.verdict == row.verdict and getattr(stored, "reason", "") == row.reason:
        return stored
    if row.verdict == "passed":
        return Passed(judge=row.judge, checks=())
    if row.verdict == "incorrect":
        return Incorrect(judge=row.judge, reason=row.reason)
    return Failed(judge=row.judge, phase=Phase(row.phase), reason=row.reason)


def _time(row: EvaluationRow) -> Recorded | None:
    if row.time_ms is None or row.low_ms is None or row.high_ms is None or row.roofline_share is None:
        return None
    return Recorded(
        objective_ms=row.time_ms, interval_ms=(row.low_ms, row.high_ms), roofline_share=row.roofline_share
    )  # fmt: skip


def _vectors(run: Run, settings: RunSettings, store: Store, root: Path) -> dict[str, TechniqueVector]:
    """Return the technique vectors by facts; none in a search where a language model alone classified."""
    from kopt.backends.static_techniques import classify_by_facts
    from kopt.techniques.taxonomy import load, taxonomy_digest

    if settings.classification == "llm":
        return {}
    taxonomy = load(root / run.config.technique_clustering.techniques)
    if settings.classification == "both":
        pool = {row.kernel: row for round in run.rounds for row in round.tables.pool}
        vectors = classify_by_facts(taxonomy, run.device, store)(list(pool.values()))
        return {kernel: vector for kernel, vector in vectors.items() if vector is not None}
    name = taxonomy_digest(tuple(taxonomy))
    return {
        row.kernel: TechniqueVector(taxonomy=name, techniques=row.techniques, classifier="static")
        for round in run.rounds
        for row in round.tables.techniques
    }


def _profiles(run: Run, folder: Path) -> Iterator[RecordedProfile]:
    seen = set[tuple[str, float]]()
    for number, round in enumerate(run.rounds[:-1]):
        for place, row in enumerate(round.selection):
            one = read_value(folder / f"round_{number}" / "profile" / f"{place}.json", ParentProfile)
            if one.profile is not None and (row.kernel, row.time_ms) not in seen:
                seen.add((row.kernel, row.time_ms))
                yield RecordedProfile(kernel=row.kernel, time_ms=row.time_ms, profile=one.profile)


def _estimates(run: Run, store: Store) -> dict[str, float]:
    """Return the estimates of all judged or screened builds, which decide what is screened."""
    from kopt.backends.estimates import estimate_time

    names = dict.fromkeys(row.build for round in run.rounds for row in round.tables.evaluations if row.build)
    return {name: estimate_time(name, run.facts, run.device, store).objective_ms for name in names}
