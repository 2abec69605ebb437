"""Keep every item that was paid for, named by the digest of what the item depends on.

A key is a frozen value that lists what an item depends on; the key's class names the kind of item and its schema
version.  Every file is written once and whole, carries the digest of its content, and is checked when read: a torn or
altered file is reported, moved to `corrupt/` and made again, never trusted.  Several runs may share one store at once.

    store/<kind>/<aa>/<digest>.json     a value under the digest of its key
    store/<kind>/<aa>/<digest><suffix>  a text or blob under its own digest (kernel source, PTX, cubin)
    store/<kind>/schema_version         newest schema version of the values of this kind
    store/conflicts/<kind>/             pairs of values that should have been equal (`Shelf.put`)
    store/corrupt/                      torn and altered files
    store/locks/<kind>/                 locks of items that are being made
    store/users/, store/in_use          who uses the store (`kopt.store_use`)

Raise a key class's `schema_version` when the meaning of its values changes: the version is part of every digest, so
that items of an older schema are no longer found.  They stay on disk until `kopt store --prune --yes` removes them.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, overload

from filelock import BaseFileLock
from pydantic import JsonValue, TypeAdapter, ValidationError

from kopt import artifact
from kopt.errors import StoreError, system_error, with_place
from kopt.locks import lock_file
from kopt.model.base import Value
from kopt.neutral import one_line

T = TypeVar("T")
log = logging.getLogger(__name__)

LOCK_SECONDS = 1800.0
"""Longest wait for another process that makes the same item, s; the limits of an item's own making are far below."""
MOST_BYTES = 4 << 30
"""Most bytes of an item; none of kopt's comes near."""
MOST_WRITES = 100
"""How often a value is tried to be kept while other processes keep and lose theirs."""
CONFLICTS = "conflicts"
CORRUPT = "corrupt"
LOCKS = "locks"
"""Folders of a store that hold no items."""
SCHEMA_VERSION = "schema_version"
"""File in a kind's folder: the newest schema version of its values."""


class Key(Value):
    """Inputs of an item; a subclass sets `kind`, and raises `schema_version` when its values change meaning."""

    kind: ClassVar[str]
    """Name of the kind of item, and of its folder."""
    schema_version: ClassVar[int] = 1
    determined: ClassVar[bool] = True
    """Whether the key determines the value, so that two values of one key must be equal.  False for measurements and
    for replies of language models: of those the first stays, and a second one is nothing to report."""
    incidental: ClassVar[frozenset[str]] = frozenset()
    """Fields of the value, at any depth, that may differ although the key determines what the value means."""

    def digest(self) -> str:
        """Return the SHA-256 over kind, schema version and fields, hex."""
        return artifact.digest({"kind": self.kind, "version": self.schema_version, "key": self.model_dump(mode="json")})


class Shelf(Generic[T]):
    """The items of one key class: values of one type (a model or a union of models)."""

    def __init__(self, store: Store, value_type: Any) -> None:  # a union is no `type`; pydantic takes any of them
        self._store = store
        self._adapter: TypeAdapter[T] = TypeAdapter(value_type)

    def get(self, key: Key) -> T | None:
        """Return the item under `key`; None when there is none, or when it was corrupt and has been set aside."""
        return self.named(type(key), key.digest())

    def named(self, key_class: type[Key], name: str) -> T | None:
        """Return the item whose key has the digest `name`, as a row of a table refers to it; None when there is none.

        An item of an older schema is none: its value may mean something else now.

        Raises:
            StoreError: the file cannot be read.
        """
        path = self._store.path(key_class.kind, name, ".json")
        content = self._store.read(path)
        if content is None:
            return None
        try:
            return self.parsed(key_class, name, content)
        except ValueError as error:
            self._store.set_aside(path, error)
            return None

    def parsed(self, key_class: type[Key], name: str, content: bytes) -> T | None:
        """Return the value in an item's file, whose key has the digest `name`; None for a value of an older schema.

        Raises:
            ValueError: the content is torn, altered, of another key, or holds no such value.
        """
        try:
            envelope = json.loads(content)
            identity = {field: envelope[field] for field in ("kind", "version", "key")}
            if artifact.digest(envelope["value"]) != envelope["digest"]:
                raise ValueError("the content does not match its digest")
            if artifact.digest(identity) != name:
                raise ValueError("the content belongs to another key")
            if envelope["version"] != key_class.schema_version:
                return None
            return self._adapter.validate_python(envelope["value"])
        except ValidationError as error:
            raise ValueError(with_place(error.errors(include_url=False, include_input=False)[0])) from error
        except json.JSONDecodeError as error:
            raise ValueError(f"it is torn, or no JSON: {error}") from error
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"it is no item of a store: {error or type(error).__name__}") from error

    def put(self, key: Key, value: T) -> T:
        """Keep `value` under `key` unless there is a value already; return the one that is kept.

        All readers thus see one value, also when several processes put at once.  Where the key determines the value
        (`Key.determined`), a second value that differs from the first is a fault: the key lacks something that the
        value depends on, or the code that made one of the two is not deterministic.  The first value stays, one
        warning line says so, and both values are written to `conflicts/`.  No error is raised, since a search that
        runs overnight must not be lost for one item; the warning reaches the terminal and the log, the record stays
        until a person deletes it, and `kopt store` counts the records.

        Raises:
            StoreError: the store cannot be written.
        """
        plain = self._adapter.dump_python(value, mode="json")
        for _ in range(MOST_WRITES):
            kept = self.get(key)
            if kept is not None:
                break
            if self._store.write_new(key, plain):
                return value
        else:
            raise StoreError(f"{self._store.path(key.kind, key.digest(), '.json')} can be neither read nor written")
        if key.determined:
            self._store.report_conflict(key, self._adapter.dump_python(kept, mode="json"), plain)
        return kept

    def get_or_make(self, key: Key, make: Callable[[], T]) -> T:
        """Return the item under `key`, made at most once among all processes that ask for it at the same time."""
        kept = self.get(key)
        if kept is not None:
            return kept
        with self._store.locked(key.kind, key.digest()):
            kept = self.get(key)
            return kept if kept is not None else self.put(key, make())


class Store:
    """A folder of immutable items; safe for several processes and runs at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._checked_kinds: set[str] = set()

    @overload
    def shelf(self, value_type: type[T]) -> Shelf[T]: ...

    @overload
    def shelf(self, value_type: object) -> Shelf[Any]: ...  # mypy cannot infer T from a union's annotation

    def shelf(self, value_type: object) -> Shelf[Any]:
        """Return typed access to the items whose values are of `value_type`, a class or a union of classes."""
        return Shelf(self, value_type)

    def put_text(self, kind: str, text: str, suffix: str = ".txt") -> str:
        """Keep a text under its own digest; return the digest."""
        return self.put_blob(kind, text.encode(), suffix)

    def text(self, kind: str, name: str, suffix: str = ".txt") -> str:
        """Return the text with digest `name`.

        Raises:
            StoreError: the text is not in the store, or no longer.
        """
        return self.blob(kind, name, suffix).decode()

    def put_blob(self, kind: str, content: bytes, suffix: str) -> str:
        """Keep bytes under their own digest; return the digest."""
        name = hashlib.sha256(content).hexdigest()
        path = self.path(kind, name, suffix)
        if self._checked(path, name) is None:
            self.write(path, content)
        return name

    def blob(self, kind: str, name: str, suffix: str) -> bytes:
        """Return the bytes with digest `name`.

        Raises:
            StoreError: the bytes are not in the store, or no longer.
        """
        content = self._checked(self.path(kind, name, suffix), name)
        if content is None:
            raise StoreError(f"{kind} {name[:12]} is not in the store {self.root}: delete the run's folder, run again")
        return content

    def path(self, kind: str, name: str, suffix: str) -> Path:
        """Return the path of an item."""
        return self.root / kind / name[:2] / f"{name}{suffix}"

    def lock(self, kind: str, name: str, digits: int = 3) -> BaseFileLock:
        """Return a lock for making one item; the lock is released when the process that holds it dies.

        Args:
            kind: kind of the item.
            name: digest of the item's key.
            digits: items whose names begin with as many equal digits share a lock.
        """
        return lock_file(self.root / LOCKS / kind / f"{name[:digits]}.lock", LOCK_SECONDS)

    @contextmanager
    def locked(self, kind: str, name: str) -> Iterator[None]:
        """Hold the lock for making one item.

        Raises:
            StoreError: the lock cannot be had.
        """
        try:
            lock = self.lock(kind, name)
            lock.acquire()
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            yield
        finally:
            lock.release()

    def read(self, path: Path) -> bytes | None:
        """Return the content of a file of the store; None where there is none, or something that is set aside.

        Raises:
            StoreError: the file cannot be read.
        """
        try:
            with artifact.plain_file(path, MOST_BYTES, follow=True) as file:
                return file.read()
        except FileNotFoundError as error:
            if path.is_symlink():  # to nowhere
                self.set_aside(path, error)
            return None
        except ValueError as error:  # a folder, a pipe, links in a circle
            self.set_aside(path, error)
            return None
        except OSError as error:
            raise self._unusable("read", error) from error

    def write(self, path: Path, content: bytes) -> None:
        """Write a file of the store.

        Raises:
            StoreError: the folder cannot be written.
        """
        try:
            artifact.write_bytes(path, content)
        except OSError as error:
            raise self._unwritable(error) from error

    def write_new(self, key: Key, plain: JsonValue) -> bool:
        """Write a value, as JSON, under a key that has none; return False when another process was first.

        Raises:
            StoreError: the folder cannot be written.
        """
        self._check_schema(key)
        try:
            return artifact.write_new_bytes(self.path(key.kind, key.digest(), ".json"), _envelope(key, plain))
        except OSError as error:
            raise self._unwritable(error) from error

    def report_conflict(self, key: Key, kept: JsonValue, refused: JsonValue) -> None:
        """Warn of a value that differs in meaning from the one kept under the same key, and record both values."""
        fields = differing_fields(kept, refused, key.incidental)
        if not fields:
            return
        name = f"{key.digest()}.{hashlib.sha256(json.dumps(refused, sort_keys=True).encode()).hexdigest()[:12]}.json"
        record = self.root / CONFLICTS / key.kind / name
        both = {"key": key.model_dump(mode="json"), "version": key.schema_version, "kept": kept, "refused": refused}
        self.write(record, (json.dumps({"kind": key.kind, "differs": fields} | both, indent=1) + "\n").encode())
        shown = ", ".join(fields[:3]) + (f" and {len(fields) - 3} more" if len(fields) > 3 else "")
        log.warning(
            "%s %s was made again and came out differently in %s; the first stays. Compare both in %s; to trust "
            "neither, delete %s and that record, and run again",
            key.kind, key.digest()[:12], shown, record, self.path(key.kind, key.digest(), ".json"),
        )  # fmt: skip

    def set_aside(self, path: Path, error: Exception) -> None:
        """Move a corrupt file, or what lies in its place, to `corrupt/`, so that the item is made again, and warn.

        Raises:
            StoreError: it cannot be moved.
        """
        aside = self.root / CORRUPT / path.name
        try:
            aside.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir() or aside.is_dir():  # a folder replaces no file, and no file a folder
                aside = aside.with_name(f"{aside.name}.{secrets.token_hex(4)}")
            os.replace(path, aside)
        except FileNotFoundError:
            return
        except OSError as failure:
            raise self._unwritable(failure) from failure
        why = one_line(str(error)) or type(error).__name__
        log.warning("corrupt store file set aside as %s, to be made again: %s", aside, why)

    def _check_schema(self, key: Key) -> None:
        """Note the schema version of the key's kind; warn once in a store's life when older items lie there.

        A store without a note is judged by one of its items, since a scan of them all would take too long here.
        """
        if key.kind in self._checked_kinds:
            return
        self._checked_kinds.add(key.kind)
        note = self.root / key.kind / SCHEMA_VERSION
        noted = _noted_version(note)
        if noted >= key.schema_version:
            return
        items = itertools.islice(item_files(self.root / key.kind), 1)
        previous = noted or next(map(envelope_version, items), None)
        if previous is not None and previous < key.schema_version:
            log.warning(
                "store %s holds items of kind %s of the older schema %d, which schema %d replaces: they are made again "
                "when needed; kopt store %s --prune --yes removes them",
                self.root, key.kind, previous, key.schema_version, self.root,
            )  # fmt: skip
        self.write(note, f"{key.schema_version}\n".encode())

    def _checked(self, path: Path, name: str) -> bytes | None:
        content = self.read(path)
        if content is None or hashlib.sha256(content).hexdigest() == name:
            return content
        self.set_aside(path, ValueError("content does not match its digest"))
        return None

    def _unwritable(self, error: OSError) -> StoreError:
        return self._unusable("write to", error)

    def _unusable(self, what: str, error: OSError) -> StoreError:
        reason = system_error(error)
        if isinstance(error, FileExistsError | NotADirectoryError) and error.filename:
            place = Path(os.fsdecode(error.filename))
            existing = next(folder for folder in (place, *place.parents) if os.path.lexists(folder))
            reason = f"{existing} is a file and should be a folder: "
            ours = existing != self.root and existing.is_relative_to(self.root)
            reason += "move it away, then run the same command again" if ours else "name another folder for the store"
        return StoreError(f"cannot {what} the store {self.root}: {reason}")


def differing_fields(kept: JsonValue, refused: JsonValue, incidental: frozenset[str], place: str = "") -> list[str]:
    """Return the dotted names of the fields in which two JSON values differ, incidental fields left out.

    A difference of two values that are no objects, or of two lists of unequal length, is named by where they lie;
    `value` stands for the whole.
    """
    if isinstance(kept, dict) and isinstance(refused, dict):
        pairs = [(name, kept.get(name), refused.get(name)) for name in sorted({*kept, *refused} - incidental)]
    elif isinstance(kept, list) and isinstance(refused, list) and len(kept) == len(refused):
        pairs = [(str(at), *both) for at, both in enumerate(zip(kept, refused, strict=True))]
    else:
        return [] if kept == refused else [place or "value"]
    return [
        field
        for name, left, right in pairs
        for field in differing_fields(left, right, incidental, f"{place}.{name}" if place else name)
    ]


def item_files(folder: Path) -> Iterator[Path]:
    """Yield the files of the values in a kind's folder, in no particular order."""
    return folder.glob("[0-9a-f][0-9a-f]/*.json")


def envelope_version(path: Path) -> int | None:
    """Return the schema version of an item's file, read from the file's last bytes; None when there is none.

    Canonical JSON sorts keys, so that `version` ends the envelope.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 32))
            match = re.search(rb'"version":(\d+)}\Z', file.read())
    except OSError:
        return None
    return int(match[1]) if match else None


def _envelope(key: Key, plain: JsonValue) -> bytes:
    envelope = {"kind": key.kind, "version": key.schema_version, "key": key.model_dump(mode="json")}
    return artifact.canonical_json(envelope | {"digest": artifact.digest(plain), "value": plain}).encode()


def _noted_version(note: Path) -> int:
    """Return the version in a `schema_version` file; 0 when there is none."""
    try:
        return int(note.read_text())
    except (OSError, ValueError):
        return 0
