"""Find the store that a run used."""

from __future__ import annotations

from pathlib import Path

from kopt.config import Config
from kopt.run.started import Started


def store_folder(folder: Path, config: Config, record: Started | None) -> Path | None:
    """Return the store that a run's settings name, from here or from where the run was started, or the one beside it.

    Args:
        folder: the run's folder.
        config: the run's settings.
        record: how the run was started, if that is known.

    Returns:
        None where there is no such folder.
    """
    named = Path(config.store)
    start = Path(record.folder) if record else Path()
    places = (named, start / named, folder.resolve().parent / named.name)
    return next((place for place in places if place.is_dir()), None)
