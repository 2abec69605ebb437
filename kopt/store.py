"""The content-addressed store: every item that was paid for, under the digest of what it depends on.

A key is a frozen value that lists what the item depends on; its class names the kind of item and its schema version.
Files are written once and whole, carry the digest of their content, and are checked when read: a torn or altered file
is reported, set aside under `corrupt/` and made again, never trusted.  Several runs may share one store at once.

    store/<kind>/<aa>/<digest>.json     a value under its key
    store/<kind>/<aa>/<digest><suffix>  a text or blob under its own digest (kernel source, PTX, cubin)
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, overload

from filelock import FileLock
from pydantic import TypeAdapter

from kopt import artifact
from kopt.errors import StoreError
from kopt.model.base import Value

T = TypeVar("T")
log = logging.getLogger(__name__)

LOCK_SECONDS = 1800.0
"""Longest wait for another process that makes the same item; an item's own limits are far below."""


class Key(Value):
    """What an item depends on; a subclass sets `kind` (a folder) and `schema_version` (raised when meaning changes)."""

    kind: ClassVar[str]
    schema_version: ClassVar[int] = 1

    def digest(self) -> str:
        """SHA-256 over kind, schema version and fields."""
        return artifact.digest({"kind": self.kind, "version": self.schema_version, "key": self.model_dump(mode="json")})


class Shelf(Generic[T]):
    """The items of one key class: values of one type (a model or a union of models)."""

    def __init__(self, store: Store, value_type: Any) -> None:
        self._store = store
        self._adapter: TypeAdapter[T] = TypeAdapter(value_type)

    def get(self, key: Key) -> T | None:
        """The item under `key`, or None when it is not known (or was found corrupt and set aside)."""
        return self.named(key.kind, key.digest())

    def named(self, kind: str, name: str) -> T | None:
        """The item whose key has the digest `name`, as a table's row names it; None when it is not known."""
        path = self._store.path(kind, name, ".json")
        content = _read(path)
        if content is None:
            return None
        try:
            envelope = json.loads(content)
            identity = {field: envelope[field] for field in ("kind", "version", "key")}
            if artifact.digest(envelope["value"]) != envelope["digest"] or artifact.digest(identity) != name:
                raise ValueError("digest or key does not match the content")
            return self._adapter.validate_python(envelope["value"])
        except (ValueError, KeyError, TypeError) as error:
            self._store.set_aside(path, error)
            return None

    def put(self, key: Key, value: T) -> T:
        """Keep `value` under `key` and return it; what is there already wins, so that all readers see one value."""
        known = self.get(key)
        if known is not None:
            return known
        plain = self._adapter.dump_python(value, mode="json")
        envelope = {"kind": key.kind, "version": key.schema_version, "key": key.model_dump(mode="json")}
        envelope |= {"digest": artifact.digest(plain), "value": plain}
        self._store.write(self._store.path(key.kind, key.digest(), ".json"), artifact.canonical_json(envelope).encode())
        return value

    def get_or_make(self, key: Key, make: Callable[[], T]) -> T:
        """The item under `key`, made at most once among all processes that ask for it at the same time."""
        known = self.get(key)
        if known is not None:
            return known
        with self._store.lock(key.kind, key.digest()):
            known = self.get(key)
            return known if known is not None else self.put(key, make())


class Store:
    """A folder of immutable items; safe for several processes and runs at once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @overload
    def shelf(self, value_type: type[T]) -> Shelf[T]: ...

    @overload
    def shelf(self, value_type: object) -> Shelf[Any]: ...

    def shelf(self, value_type: object) -> Shelf[Any]:
        """Typed access to items whose values are of `value_type`, a class or a union of classes."""
        return Shelf(self, value_type)

    def put_text(self, kind: str, text: str, suffix: str = ".txt") -> str:
        """Keep a text under its own digest, which is returned."""
        return self.put_blob(kind, text.encode(), suffix)

    def text(self, kind: str, name: str, suffix: str = ".txt") -> str:
        """The text with digest `name`.

        Raises:
            StoreError: it is not in the store (any more).
        """
        return self.blob(kind, name, suffix).decode()

    def put_blob(self, kind: str, content: bytes, suffix: str) -> str:
        """Keep bytes under their own digest, which is returned."""
        name = hashlib.sha256(content).hexdigest()
        path = self.path(kind, name, suffix)
        if self._checked(path, name) is None:
            self.write(path, content)
        return name

    def blob(self, kind: str, name: str, suffix: str) -> bytes:
        """The bytes with digest `name`.

        Raises:
            StoreError: they are not in the store (any more).
        """
        content = self._checked(self.path(kind, name, suffix), name)
        if content is None:
            raise StoreError(f"{kind} {name[:12]} is not in the store {self.root}: delete the run's folder, run again")
        return content

    def path(self, kind: str, name: str, suffix: str) -> Path:
        """Where an item lies."""
        return self.root / kind / name[:2] / f"{name}{suffix}"

    def lock(self, kind: str, name: str) -> FileLock:
        """A lock for making one item; it dies with its holder."""
        folder = self.root / "locks" / kind
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f"{name[:3]}.lock", timeout=LOCK_SECONDS)

    def write(self, path: Path, content: bytes) -> None:
        """Write a file of the store.

        Raises:
            StoreError: the folder cannot be written.
        """
        try:
            artifact.write_bytes(path, content)
        except OSError as error:
            raise StoreError(f"cannot write to the store {self.root}: {error.strerror}") from error

    def set_aside(self, path: Path, error: Exception) -> None:
        """Move a corrupt file out of the way, so that it is made again, and say so."""
        aside = self.root / "corrupt" / path.name
        aside.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.replace(path, aside)
        except FileNotFoundError:
            return
        log.warning("corrupt store file set aside as %s, to be made again: %s", aside, str(error).splitlines()[0])

    def _checked(self, path: Path, name: str) -> bytes | None:
        content = _read(path)
        if content is None or hashlib.sha256(content).hexdigest() == name:
            return content
        self.set_aside(path, ValueError("content does not match its digest"))
        return None


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"cannot read the store's {path}: {error.strerror}") from error
