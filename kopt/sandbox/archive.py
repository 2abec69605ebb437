"""Read the files of an archive without trusting anything in it: all of them are checked before any is used.

An archive is a tar of small files with flat names, plain or compressed by xz.  Links, devices, folders, paths, names
that stand twice (also in other letters), sparse files, and more or larger files than kopt ever writes are refused.
"""

from __future__ import annotations

import io
import lzma
import re
import tarfile
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from kopt.errors import CorruptArtifact, with_place

LARGEST = 64 << 20
"""Most bytes of one file; kopt writes none that is larger."""
XZ = b"\xfd7zXZ"
"""First bytes of an archive that is compressed as kopt packs it."""
MOST_UNPACKED = 256 << 20
"""Most bytes of a compressed archive after decompression, which are held in memory."""
MOST_MEMORY = 128 << 20
"""Most bytes that the decompressor may take for itself."""
MOST_BYTES = 2 << 30
"""Most bytes of all files together."""
MOST_FILES = 200_000

PACKERS = {
    b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\x28\xb5\x2f\xfd": "unzstd", b"PK": "unzip",
}  # fmt: skip
"""Programs that unpack compressed files, by the first bytes of such files."""

UNREADABLE = (tarfile.TarError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, MemoryError)
"""Exceptions that reading a file that is no archive may raise."""


def files_of(path: Path, names: re.Pattern[str]) -> dict[str, bytes]:
    """Return the contents of an archive's files by name.

    Args:
        path: the archive.
        names: the names that its files may have.

    Raises:
        CorruptArtifact: one line that names the file and what is wrong.
    """
    try:
        if not path.is_file():
            raise ValueError("it is not a file")
        if packer := _packer(path):
            raise ValueError(f"it is packed once more: unpack it with {packer} first")
        with _opened(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            _check(tar, names)
            return {member.name: _content(tar, member) for member in tar}
    except UNREADABLE as error:
        raise no_archive(path, error) from error


def _opened(path: Path) -> BinaryIO:
    """Open an archive; a compressed one is decompressed into memory, up to a limit.

    Raises:
        ValueError: it is torn, has more than the limit, or something follows its end.
    """
    file = path.open("rb")
    if file.read(len(XZ)) != XZ:
        file.seek(0)
        return file
    with file:
        file.seek(0)
        unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MOST_MEMORY)
        try:
            content = unpacker.decompress(file.read(MOST_UNPACKED), MOST_UNPACKED)
        except lzma.LZMAError as error:
            raise ValueError(f"it cannot be decompressed ({error})") from error
    if not unpacker.eof:
        raise ValueError(f"it is cut off, or has more than {MOST_UNPACKED >> 20} MiB when decompressed")
    if unpacker.unused_data:
        raise ValueError("something follows its end")
    return io.BytesIO(content)


def no_archive(path: Path, error: Exception) -> CorruptArtifact:
    """Make the error of a file that is no archive of replies."""
    if isinstance(error, ValidationError):
        first = with_place(error.errors(include_url=False)[0])
    elif isinstance(error, tarfile.ReadError):
        first = f"it is no tar, or is cut off ({error})"
    else:
        first = (str(error).splitlines() or [type(error).__name__])[0].rstrip(":")
    return CorruptArtifact(f"{path} is not a whole archive of replies: {first}; nothing of it was written")


def _packer(path: Path) -> str:
    """Return the program that unpacks a compressed file; empty for a file that is not compressed."""
    with path.open("rb") as file:
        head = file.read(6)
    return next((program for magic, program in PACKERS.items() if head.startswith(magic)), "")


def _check(tar: tarfile.TarFile, names: re.Pattern[str]) -> None:
    """Refuse an archive by the heads of its files alone."""
    seen: set[str] = set()
    total = 0
    for member in tar:
        if member.name.casefold() in seen:
            raise ValueError(f"{member.name!r} stands in it twice")
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
            raise ValueError(f"{member.name!r} is a link, a device or a folder, not a plain file")
        if not names.fullmatch(member.name):
            raise ValueError(f"{member.name!r} is no name of a file that kopt packs")
        if member.size > LARGEST:
            raise ValueError(f"{member.name!r} has {member.size} bytes, more than a reply's {LARGEST}")
        seen.add(member.name.casefold())
        total += member.size
        if len(seen) > MOST_FILES or total > MOST_BYTES:
            raise ValueError(f"it holds more than {MOST_FILES} files or {MOST_BYTES >> 20} MiB")


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    content = file.read()
    if len(content) != member.size:
        raise ValueError(f"{member.name!r} is cut off")
    return content
