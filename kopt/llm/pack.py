"""Pack a run's replies into one archive, which anyone can replay elsewhere at no cost.

The archive is a tar of the store's files of replies and of reasons why there was none, what the run was made from,
what it measured on a GPU, and a manifest with their digests; equal replies give equal bytes.  Only files that the
manifest names and whose content matches are unpacked, under names that follow from their content.
"""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import math
import os
import re
import tarfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from pydantic import Field

from kopt import artifact
from kopt.errors import StoreError
from kopt.llm.packed import Manifest, Recording, Versions, note, relevant
from kopt.llm.reply import Kept, Unanswered
from kopt.llm.request import NoReplyKey, ReplyKey
from kopt.model.base import Value
from kopt.model.measurements import Measurements
from kopt.neutral import one_line
from kopt.sandbox import archive
from kopt.store import Shelf, Store

MANIFEST = "manifest.json"
RECORDING = "run.json"
NAMES = re.compile(r"(manifest|run|measurements|[0-9a-f]{64})\.json")
"""Names of an archive's files."""
MEASUREMENTS = "measurements.json"
FORMAT = "kopt replies 5"

KeyClass = type[ReplyKey] | type[NoReplyKey]
"""Keys of the files that an archive holds."""
VALUES: dict[KeyClass, object] = {ReplyKey: Kept, NoReplyKey: Unanswered}
"""Classes of the values under these keys."""


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is no number of a measurement")
    return number


class Packed(Value):
    """The number of replies that were written into an archive, and the replies that cannot be used."""

    replies: int
    """Replies in the archive."""
    measurements: bool = False
    """Whether it holds what the run measured."""
    unusable: dict[str, str] = Field(default_factory=dict)
    """What is wrong with the files of the store that were left out, by the path of the file."""


class Unpacked(Value):
    """The number of replies that an archive holds, and what the store held of them before."""

    replies: int
    """Replies in the archive."""
    kept: int = 0
    """Those of them that were in the store already."""
    replaced: tuple[str, ...] = ()
    """Names of those whose files in the store were torn, altered, or no files; what lay there is in `corrupt/`."""


def pack(
    store: Store,
    requests: Iterable[str],
    path: Path,
    versions: Mapping[str, str] | None = None,
    recording: Recording | None = None,
    expected: Collection[str] = (),
    measurements: Measurements | None = None,
) -> Packed:
    """Write the replies to these requests into an archive; none is written where there is no reply.

    Args:
        store: the store that holds the replies; it is not changed.
        requests: request digests, e.g. those of a run's ledger; requests without a reply are left out.
        path: the archive to write, e.g. `run.replies.tar.xz`; it is compressed if its name ends with `.xz`.
        versions: versions of packages that the run was made with, so that a replay elsewhere can say what differs.
        recording: settings, models and problem of the run; without these a replay needs the run's own settings.
        expected: those of the requests that had a reply, which is named as unusable where it is gone.
        measurements: what the run measured on a GPU, so that a replay measures nothing.

    Raises:
        StoreError: a reply cannot be read.
    """
    wanted = sorted(set(requests))
    unusable: dict[str, str] = {}
    files = _files(store, ReplyKey, wanted, unusable, expected)
    reasons = [NoReplyKey(request=name).digest() for name in wanted if name not in files]
    without = _files(store, NoReplyKey, reasons, unusable)
    run = artifact.canonical_json(recording).encode() if recording else b""
    measured = artifact.canonical_json(measurements).encode() if measurements else b""
    manifest = {
        "format": FORMAT,
        "replies": _digests(files),
        "no_replies": _digests(without),
        "versions": relevant(versions or {}),
        "run": hashlib.sha256(run).hexdigest() if run else "",
        "measurements": hashlib.sha256(measured).hexdigest() if measured else "",
    }
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        _add(tar, MANIFEST, artifact.canonical_json(manifest).encode())
        if run:
            _add(tar, RECORDING, run)
        if measured:
            _add(tar, MEASUREMENTS, measured)
        for name, body in (files | without).items():
            _add(tar, f"{name}.json", body)
    if files or measured:
        content = out.getvalue()
        artifact.write_bytes(path, lzma.compress(content, preset=9) if path.suffix == ".xz" else content)
    return Packed(replies=len(files), measurements=bool(measured), unusable=unusable)


def _files(
    store: Store, key: KeyClass, names: Iterable[str], unusable: dict[str, str], expected: Collection[str] = ()
) -> dict[str, bytes]:
    """Return the contents of the items that there are, by name; what is wrong with others goes into `unusable`."""
    files = {}
    for name in names:
        path = store.path(key.kind, name, ".json")
        try:
            with artifact.plain_file(path, archive.LARGEST, follow=True) as file:
                files[name] = _sound(key, name, file.read())
        except FileNotFoundError:
            if path.is_symlink() or name in expected:
                unusable[str(path)] = "it is gone"
        except ValueError as error:
            unusable[str(path)] = one_line(str(error))
        except OSError as error:
            raise StoreError(f"cannot read reply {name[:12]} of the store {store.root}: {error.strerror}") from error
    return files


def _sound(key: KeyClass, name: str, content: bytes) -> bytes:
    """Return an item's content after checking that it is the whole value of its key.

    Raises:
        ValueError: it is not.
    """
    shelf: Shelf[object] = Store(Path()).shelf(VALUES[key])
    if shelf.parsed(key, name, content) is None:
        raise ValueError("it is of an older schema")
    return content


def _digests(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(body).hexdigest() for name, body in files.items()}


def _add(tar: tarfile.TarFile, name: str, body: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(body), 0o644
    tar.addfile(info, io.BytesIO(body))


def unpack(path: Path, store: Store) -> Unpacked:
    """Put an archive's replies into a store; all are checked before any is written.

    A sound reply in the store stays; what is torn there is set aside and replaced.

    Raises:
        CorruptArtifact: the file is no such archive, or a reply does not match its digest.
        StoreError: the store cannot be written.
    """
    content = archive.files_of(path, NAMES)
    try:
        manifest, files = _checked(content)
    except archive.UNREADABLE as error:
        raise archive.no_archive(path, error) from error
    kept, replaced = 0, []
    for (key, digest), body in files.items():
        target = store.path(key.kind, digest, ".json")
        before = store.read(target) if target.is_file() else None
        if before is not None and _is_sound(key, digest, before):
            kept += key is ReplyKey
            continue
        if os.path.lexists(target):
            store.set_aside(target, ValueError("it is no whole reply, and is replaced by the archive's"))
            replaced.append(digest)
        store.write(target, body)
    if files:
        note(store, Versions(of=manifest.versions))
    return Unpacked(replies=len(manifest.replies), kept=kept, replaced=tuple(replaced))


def _is_sound(key: KeyClass, name: str, content: bytes) -> bool:
    try:
        return bool(_sound(key, name, content))
    except ValueError:
        return False


def recording_in(path: Path) -> Recording | None:
    """Return what the run of an archive was made from; None where the archive does not say.

    Raises:
        CorruptArtifact: the file is no such archive, or the recording does not match its digest.
    """
    content = archive.files_of(path, NAMES)
    try:
        body = _digested(content, RECORDING, _manifest(content).run)
        return Recording.model_validate_json(body) if body else None
    except archive.UNREADABLE as error:
        raise archive.no_archive(path, error) from error


def measurements_packed(path: Path) -> Measurements | None:
    """Return the measurements in an archive; None where it has none.

    Raises:
        CorruptArtifact: the file is no such archive, or the measurements do not match their digest or their schema.
    """
    content = archive.files_of(path, NAMES)
    try:
        body = _digested(content, MEASUREMENTS, _manifest(content).measurements)
        return (
            Measurements.model_validate(json.loads(body, parse_float=_finite, parse_constant=_finite)) if body else None
        )
    except archive.UNREADABLE as error:
        raise archive.no_archive(path, error) from error


def _digested(content: Mapping[str, bytes], name: str, expected: str) -> bytes:
    """Return a file of an archive whose digest the manifest names; empty where it names none."""
    body = _member(content, name) if expected else b""
    if expected and hashlib.sha256(body).hexdigest() != expected:
        raise ValueError(f"{name} does not match its digest")
    return body


def _checked(content: Mapping[str, bytes]) -> tuple[Manifest, dict[tuple[KeyClass, str], bytes]]:
    """Return an archive's manifest, and its files by key and name."""
    manifest = _manifest(content)
    files = {
        (key, digest): _file(content, key, digest, expected)
        for key, listed in ((ReplyKey, manifest.replies), (NoReplyKey, manifest.no_replies))
        for digest, expected in listed.items()
    }
    listed = {RECORDING: manifest.run, MEASUREMENTS: manifest.measurements}
    known = {MANIFEST, *(name for name, digest in listed.items() if digest), *(f"{name}.json" for _, name in files)}
    if unknown := sorted(set(content) - known):
        raise ValueError(f"its manifest does not name {unknown[0]!r}")
    return manifest, files


def _manifest(content: Mapping[str, bytes]) -> Manifest:
    plain = json.loads(_member(content, MANIFEST))
    if not isinstance(plain, dict):
        raise ValueError(f"{MANIFEST} is no object of JSON")
    if plain.get("format") != FORMAT:
        raise ValueError(f"its format is {str(plain.get('format'))[:40]!r}, expected {FORMAT!r}")
    return Manifest.model_validate(plain)


def _member(content: Mapping[str, bytes], name: str) -> bytes:
    if name not in content:
        raise ValueError(f"{name} is missing in it")
    return content[name]


def _file(content: Mapping[str, bytes], key: KeyClass, digest: str, expected: str) -> bytes:
    """Return one file after checking its bytes, its name, and the value inside."""
    body = _member(content, f"{digest}.json")
    if hashlib.sha256(body).hexdigest() != expected:
        raise ValueError(f"reply {digest[:12]} does not match its digest")
    try:
        return _sound(key, digest, body)
    except ValueError as error:
        raise ValueError(f"reply {digest[:12]} is unusable: {error}") from error
