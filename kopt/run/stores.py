"""Find the store that a run used."""

from __future__ import annotations

from pathlib import Path

from kopt.config import Config
from kopt.run.layout import is_earlier
from kopt.run.started import Started, started


def store_folder(folder: Path, config: Config, record: Started | None) -> Path | None:
    """Return the store that a run's settings name.

    A relative path is taken from where the run was started, and, where the run was moved since then, first from beside
    the run; at last from here.

    Args:
        folder: the run's folder, or one in it that keeps an earlier search.
        config: the run's settings.
        record: how the run was started, if that is known.

    Returns:
        None where there is no such folder.
    """
    named, place = Path(config.store), folder.resolve()
    if is_earlier(place):
        place = place.parent
        record = record or started(place)
    beside, start = place.parent / named.name, Path(record.folder) if record else Path()
    stays = record is not None and (start / config.results / place.name).resolve() == place
    places = (start / named, beside, named) if stays or named.is_absolute() else (beside, start / named, named)
    return next((place for place in places if place.is_dir()), None)
