"""Define the contents of an archive beside replies: the versions of its run, and what a replay of the run needs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, JsonValue, field_validator

from kopt.llm.table import ModelTable
from kopt.model.base import Value
from kopt.model.proposers import EarlierRuns
from kopt.provenance import DECIDING, versions
from kopt.store import Key, Store, item_files

Word = Annotated[str, Field(pattern=r"^[\w.+!-]{1,64}$")]
"""A name or a version, free of what a terminal would act on."""

RunName = Annotated[str, AfterValidator(lambda name: _matching(name, r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}"))]
"""A name of a run, which is the name of its folder."""

FileName = Annotated[str, AfterValidator(lambda name: _matching(name, r"[^/\\:.][^/\\:]{0,99}"))]
"""A name of a file in a folder: no path, no hidden file, no control character."""

MOST_PROBLEM_FILES = 16
"""Most files of a problem; kopt's own format has three."""

MOST_VERSIONS = 64
"""Most packages whose versions an archive names; kopt packs those of `DECIDING`."""


def _matching(name: str, pattern: str) -> str:
    if not (name.isprintable() and re.fullmatch(pattern, name)):
        raise ValueError("it is no plain name, and a replay would write there")
    return name


VersionByName = Annotated[dict[Word, Word], Field(max_length=MOST_VERSIONS)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Versions(Value):
    """Versions of packages, by name."""

    of: VersionByName


class Manifest(Value):
    """Contents of an archive, named by the archive itself."""

    format: str
    replies: dict[Digest, Digest]
    """SHA-256 of the file of each reply, by the name of the reply."""
    no_replies: dict[Digest, Digest]
    """The same of reasons why there is no reply."""
    versions: VersionByName = Field(default_factory=dict)
    run: Digest | Literal[""] = ""
    """SHA-256 of the recording; empty where the archive has none."""
    measurements: Digest | Literal[""] = ""
    """SHA-256 of the measurements; empty where the archive has none."""


class Recording(Value):
    """Settings, models and problem of a run, with which it can be replayed in any checkout."""

    run: RunName
    """Name of the run."""
    settings: dict[str, JsonValue]
    models: ModelTable
    """The run's part of the model table, which holds no key."""
    problem: dict[FileName, str] = Field(max_length=MOST_PROBLEM_FILES)
    """Texts of the problem's files, by name: plain names in one folder, since a replay writes the files."""
    experience: EarlierRuns | None = None
    """Results of earlier runs that the run used from its start; None where it used none."""

    @field_validator("problem")
    @classmethod
    def _names_differ(cls, files: dict[str, str]) -> dict[str, str]:
        if len({name.casefold() for name in files}) != len(files):
            raise ValueError("two files of the problem have names that some file systems do not tell apart")
        return files


class PackedKey(Key):
    """The store's key of the versions of an archive that was unpacked into the store."""

    kind: ClassVar[str] = "packed"

    of: VersionByName


def relevant(all_versions: Mapping[str, str]) -> dict[str, str]:
    """Pick the versions that prompts depend on from those that a run recorded."""
    return {name: all_versions[name] for name in DECIDING if name in all_versions}


def note(store: Store, made_with: Versions) -> None:
    """Note the versions of an archive in the store that it is unpacked into."""
    if made_with.of:
        store.shelf(Versions).put(PackedKey(of=made_with.of), made_with)


def differences(store: Store, here: Mapping[str, str] | None = None) -> str:
    """Describe how the versions here differ from those of the archives unpacked into a store.

    The result is empty where no versions are noted, or where one of the archives was made with the versions here.

    Args:
        store: the store into which archives were unpacked.
        here: versions of this environment; None: look them up.
    """
    shelf = store.shelf(Versions)
    names = [path.stem for path in sorted(item_files(store.root / PackedKey.kind))]
    archives = [made_with.of for name in names if (made_with := shelf.named(PackedKey, name)) is not None]
    here = versions() if here is None else here
    unlike = [_differences(made_with, here) for made_with in archives]
    return "" if not unlike or "" in unlike else " or ".join(unlike)


def _differences(made_with: Mapping[str, str], here: Mapping[str, str]) -> str:
    unlike = [name for name in sorted(made_with) if made_with[name] != here.get(name)]
    return ", ".join(f"{name} {made_with[name]} (here {here.get(name)})" for name in unlike)
