"""Pack a run's replies into one archive, which anyone can replay elsewhere at no cost.

The archive is a tar of the store's files of replies and of reasons why there was none, what the run was made from, and
a manifest with their digests; equal replies give equal bytes.  Only files that the manifest names and whose content
matches are unpacked, under names that follow from their content.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from kopt import artifact
from kopt.errors import StoreError
from kopt.llm.packed import Recording, Versions, note, relevant
from kopt.llm.request import NoReplyKey, ReplyKey
from kopt.sandbox import archive
from kopt.store import Store

MANIFEST = "manifest.json"
RECORDING = "run.json"
NAMES = re.compile(r"(manifest|run|[0-9a-f]{64})\.json")
"""Names of an archive's files."""
FORMAT = "kopt replies 4"
KeyClass = type[ReplyKey] | type[NoReplyKey]
"""Keys of the files that an archive holds."""


def pack(
    store: Store,
    requests: Iterable[str],
    path: Path,
    versions: Mapping[str, str] | None = None,
    recording: Recording | None = None,
) -> int:
    """Write the replies to these requests into an archive and return how many there are.

    Args:
        store: the store that holds the replies.
        requests: request digests, e.g. those of a run's ledger; requests without a reply are left out.
        path: the archive to write, e.g. `run.replies.tar`.
        versions: versions of packages that the run was made with, so that a replay elsewhere can say what differs.
        recording: settings, models and problem of the run; without these a replay needs the run's own settings.

    Raises:
        StoreError: a reply cannot be read.
    """
    wanted = sorted(set(requests))
    files = _files(store, ReplyKey, wanted)
    reasons = _files(store, NoReplyKey, [NoReplyKey(request=name).digest() for name in wanted if name not in files])
    run = artifact.canonical_json(recording).encode() if recording else b""
    manifest = {
        "format": FORMAT,
        "replies": _digests(files),
        "no_replies": _digests(reasons),
        "versions": relevant(versions or {}),
        "run": hashlib.sha256(run).hexdigest() if run else "",
    }
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        _add(tar, MANIFEST, artifact.canonical_json(manifest).encode())
        if run:
            _add(tar, RECORDING, run)
        for name, body in (files | reasons).items():
            _add(tar, f"{name}.json", body)
    artifact.write_bytes(path, out.getvalue())
    return len(files)


def _files(store: Store, key: KeyClass, names: Iterable[str]) -> dict[str, bytes]:
    return {name: content for name in names if (content := _content(store, key, name)) is not None}


def _digests(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(body).hexdigest() for name, body in files.items()}


def _content(store: Store, key: KeyClass, digest: str) -> bytes | None:
    try:
        return store.path(key.kind, digest, ".json").read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"cannot read reply {digest[:12]} of the store {store.root}: {error.strerror}") from error


def _add(tar: tarfile.TarFile, name: str, body: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(body), 0o644
    tar.addfile(info, io.BytesIO(body))


def unpack(path: Path, store: Store) -> int:
    """Put an archive's replies into a store and return how many there are; all are checked before any is written.

    Raises:
        CorruptArtifact: the file is no such archive, or a reply does not match its digest.
        StoreError: the store cannot be written.
    """
    content = archive.files_of(path, NAMES)
    try:
        made_with, files = _checked(content)
    except archive.UNREADABLE as error:
        raise archive.no_archive(path, error) from error
    for (kind, digest), body in files.items():
        target = store.path(kind, digest, ".json")
        if not target.exists():
            store.write(target, body)
    note(store, made_with)
    return sum(kind == ReplyKey.kind for kind, _ in files)


def recording_in(path: Path) -> Recording | None:
    """Return what the run of an archive was made from; None where the archive does not say.

    Raises:
        CorruptArtifact: the file is no such archive, or the recording does not match its digest.
    """
    content = archive.files_of(path, NAMES)
    try:
        expected = json.loads(content[MANIFEST]).get("run", "")
        body = content[RECORDING] if expected else b""
        if expected and hashlib.sha256(body).hexdigest() != expected:
            raise ValueError(f"{RECORDING} does not match its digest")
        return Recording.model_validate_json(body) if expected else None
    except archive.UNREADABLE as error:
        raise archive.no_archive(path, error) from error


def _checked(content: Mapping[str, bytes]) -> tuple[Versions, dict[tuple[str, str], bytes]]:
    """Return the versions that an archive was made with, and its files by kind and name."""
    manifest = json.loads(content[MANIFEST])
    if manifest["format"] != FORMAT:
        raise ValueError(f"format {manifest['format']!r}, expected {FORMAT!r}")
    files = {
        (key.kind, digest): _file(content, key, digest, expected)
        for key, listed in ((ReplyKey, manifest["replies"]), (NoReplyKey, manifest["no_replies"]))
        for digest, expected in listed.items()
    }
    known = {MANIFEST, RECORDING if manifest.get("run") else MANIFEST, *(f"{name}.json" for _, name in files)}
    if unknown := sorted(set(content) - known):
        raise ValueError(f"its manifest does not name {unknown[0]!r}")
    return Versions(of=manifest.get("versions", {})), files


def _file(content: Mapping[str, bytes], key: KeyClass, digest: str, expected: object) -> bytes:
    """Return one file after checking its bytes, its name, and the digest of the value inside."""
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ValueError(f"{digest!r} is not a digest")
    body = content[f"{digest}.json"]
    envelope = json.loads(body)
    if hashlib.sha256(body).hexdigest() != expected or artifact.digest(envelope["value"]) != envelope["digest"]:
        raise ValueError(f"reply {digest[:12]} does not match its digest")
    if key.model_validate(envelope["key"]).digest() != digest:
        raise ValueError(f"reply {digest[:12]} belongs to another request")
    return body
