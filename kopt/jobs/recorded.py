"""Keep the measurements of a recorded search in a store, apart from all that is measured here.

Recorded items have kinds of their own (`measurements`, `recorded_build`), which no other backend looks up: a search on
this machine never takes a recorded build, verdict or time for one of its own.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from kopt.artifact import digest
from kopt.errors import ConfigError, NotRecorded, StoreError
from kopt.jobs.keys import BuildKey, MeasurementsKey, RecordedBuildKey, VerdictKey
from kopt.model.build import Build, Built
from kopt.model.measurements import Measurements
from kopt.model.verdict import Verdict
from kopt.provenance import DECIDING, versions
from kopt.store import Store, item_files


def put_measurements(store: Store, measurements: Measurements) -> None:
    """Keep the measurements of one recorded search.

    Raises:
        ConfigError: the store holds the measurements of another search.
        StoreError: the store cannot be written.
    """
    key = MeasurementsKey(recording=digest(measurements))
    if set(_names(store)) - {key.digest()}:
        raise ConfigError(
            f"the store {store.root} holds the measurements of another recorded search: name another with --store"
        )
    builds = store.shelf(Build)
    for one in measurements.builds:
        if one.name:
            builds.put(RecordedBuildKey(build=one.name), one.build)
    store.shelf(Measurements).put(key, measurements)


def measurements_in(store: Store) -> Measurements:
    """Return the measurements of the recorded search whose archive was unpacked into a store.

    Raises:
        NotRecorded: the store holds none.
    """
    names = _names(store)
    found = store.shelf(Measurements).named(MeasurementsKey, names[0]) if names else None
    if found is None:
        raise NotRecorded(
            f"judge=recorded: the store {store.root} holds no measurements: kopt replay puts an archive's there"
        )
    return found


def find_build(build: str, store: Store) -> Build | None:
    """Look up a build by its name, as tables name builds: one of this store's own, else a recorded one.

    For what is told of a build, in prompts and reports; a judge looks up its own builds only (`kopt.jobs.builds`).
    """
    shelf = store.shelf(Build)
    own = shelf.named(BuildKey, build)
    return own if own is not None else shelf.get(RecordedBuildKey(build=build))


def find_verdict(evaluation: str, store: Store) -> Verdict | None:
    """Look up a verdict by its name, as tables name verdicts: one of this store's own, else a recorded one.

    For what is told of a verdict, in reports; a judge looks up its own verdicts only.
    """
    own: Verdict | None = store.shelf(Verdict).named(VerdictKey, evaluation)
    if own is not None:
        return own
    names = _names(store)
    return _verdicts(store.root, names[0]).get(evaluation) if names else None


@lru_cache(maxsize=2)
def _verdicts(root: Path, name: str) -> dict[str, Verdict]:
    """Read the recorded verdicts by their names; an item of a store does not change under its name."""
    found = Store(root).shelf(Measurements).named(MeasurementsKey, name)
    return {one.evaluation: one.verdict for one in found.verdicts} if found else {}


def told_build(build: str, store: Store) -> Built:
    """Return a successful build by its name, the store's own or a recorded one.

    Raises:
        StoreError: the build is not in the store, or no longer.
    """
    built = find_build(build, store)
    if not isinstance(built, Built):
        raise StoreError(f"build {build[:12]} is not in the store {store.root}: delete the run's folder and run again")
    return built


def not_recorded(what: str, measurements: Measurements) -> NotRecorded:
    """Make the error of a measurement that a replay needs and the recording lacks.

    Args:
        what: the measurement that is lacking, e.g. `verdict on r1a0s2`.
        measurements: the recording.
    """
    return NotRecorded(
        f"the recording holds no {what}, and a replay measures nothing: this replay differs from the recorded search"
        f"{recorded_with(measurements)}"
    )


def recorded_with(measurements: Measurements) -> str:
    """Say with which other versions of packages the search was recorded, as the end of a sentence; empty if none."""
    here = versions()
    unlike = [name for name in DECIDING if measurements.versions.get(name) != here.get(name)]
    listed = ", ".join(f"{name} {measurements.versions.get(name)}, here {here.get(name)}" for name in unlike)
    return f" (recorded with {listed})" if listed else ""


def _names(store: Store) -> list[str]:
    return sorted(path.stem for path in item_files(store.root / MeasurementsKey.kind))
