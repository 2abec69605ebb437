"""What an archive tells beside its replies: the versions that they were made with, and how the run is replayed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from kopt.llm.table import ModelTable
from kopt.model.base import Value
from kopt.provenance import versions
from kopt.store import Key, Store

Word = Annotated[str, Field(pattern=r"^[\w.+!-]{1,64}$")]

TOLD = ("kopt", "triton", "torch")
"""Packages whose versions prompts may depend on: their words, the guidance, and what the compiler makes of a parent."""


class Versions(Value):
    """Versions of packages, by name."""

    of: dict[Word, Word]


class Recording(Value):
    """What a run was made from, so that it can be replayed where nothing of it lies."""

    run: str
    """Its name."""
    settings: dict[str, Any]
    models: ModelTable
    """Its part of the model table; it holds no key."""
    problem: dict[str, str]
    """Texts of the problem's files, by name."""


class PackedKey(Key):
    """Where the store notes the versions of an archive that was put into it."""

    kind: ClassVar[str] = "packed"

    of: dict[Word, Word]


def told(all_versions: Mapping[str, str]) -> dict[str, str]:
    """The versions that prompts depend on, of those that a run recorded."""
    return {name: all_versions[name] for name in TOLD if name in all_versions}


def note(store: Store, found: Versions) -> None:
    """Note the versions of an archive in the store that it is unpacked into."""
    if found.of:
        store.shelf(Versions).put(PackedKey(of=found.of), found)


def differences(store: Store, here: Mapping[str, str] | None = None) -> str:
    """How the versions here differ from those of the replies unpacked into a store, in words.

    Empty where nothing is noted, or where one of the archives was made with the versions here.

    Args:
        store: where replies were unpacked.
        here: versions of this environment, found out when not given.
    """
    shelf = store.shelf(Versions)
    names = [path.stem for path in sorted((store.root / PackedKey.kind).glob("*/*.json"))]
    noted = [found.of for name in names if (found := shelf.named(PackedKey.kind, name)) is not None]
    here = versions() if here is None else here
    unlike = [_unlike(of, here) for of in noted]
    return "" if not unlike or "" in unlike else " or ".join(unlike)


def _unlike(of: Mapping[str, str], here: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {of[name]} (here {here.get(name)})" for name in sorted(of) if of[name] != here.get(name))
