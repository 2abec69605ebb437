"""Read a taxonomy of techniques: a YAML list of name, description and llm_hint, in bit order."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path

from kopt import safe_yaml
from kopt.artifact import digest
from kopt.errors import TaxonomyError
from kopt.model.technique import Technique

KEYS = tuple(Technique.model_fields)
_SNAKE_CASE = re.compile(r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$")


def load(path: Path) -> tuple[Technique, ...]:
    """Read the techniques of a taxonomy file, in bit order.

    Raises:
        TaxonomyError: the file cannot be read, is not a non-empty list of techniques, or names one twice.
    """
    entries = _entries(path)
    techniques = tuple(_technique(path, place, entry) for place, entry in enumerate(entries, start=1))
    seen: dict[str, int] = {}
    for place, technique in enumerate(techniques, start=1):
        if technique.name in seen:
            first = seen[technique.name]
            raise TaxonomyError(
                f"{path}: entry {place} repeats the name {technique.name!r} of entry {first}: rename it"
            )
        seen[technique.name] = place
    return techniques


def taxonomy_digest(taxonomy: Sequence[Technique]) -> str:
    """Digest names, descriptions and hints in bit order: a technique vector holds for one taxonomy."""
    return digest([technique.model_dump(mode="json") for technique in taxonomy])


def _entries(path: Path) -> list[object]:
    try:
        content = safe_yaml.load_file(path)
    except OSError as error:
        raise TaxonomyError(f"{path}: cannot be read ({error.strerror})") from error
    except safe_yaml.NotYaml as error:
        raise TaxonomyError(f"{path}: is not YAML ({error})") from error
    if not isinstance(content, list):
        raise TaxonomyError(f"{path}: must be a list of techniques with {_listed(KEYS)}")
    if not content:
        raise TaxonomyError(f"{path}: is empty: list at least one technique with {_listed(KEYS)}")
    return content


def _technique(path: Path, place: int, entry: object) -> Technique:
    where = f"{path}: entry {place}"
    if not isinstance(entry, dict):
        raise TaxonomyError(f"{where} is not a mapping: give it {_listed(KEYS)}")
    named = f"{where} ({entry['name']})" if isinstance(entry.get("name"), str) else where
    for key in entry:
        if key not in KEYS:
            raise TaxonomyError(f"{named} has the unknown key {key!r}{_nearest(str(key))}")
    for key in KEYS:
        if not isinstance(entry.get(key), str) or not entry[key].strip():
            raise TaxonomyError(f"{named} lacks {key!r}: a non-empty text")
    if not _SNAKE_CASE.match(entry["name"]):
        raise TaxonomyError(f"{where}: the name {entry['name']!r} is not snake_case (like tensor_cores)")
    return Technique(**entry)


def _nearest(key: str) -> str:
    near = difflib.get_close_matches(key, KEYS, n=1, cutoff=0.4)
    return f": did you mean {near[0]!r}?" if near else f": known keys are {_listed(KEYS)}"


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
