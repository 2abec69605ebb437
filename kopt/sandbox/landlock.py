"""Restrict writing, and where asked reading, of this process to given places, by the system calls of Linux' Landlock.

Newer versions of Landlock also close TCP, abstract sockets and signals to processes outside.
Source: Documentation/userspace-api/landlock.rst of the Linux kernel.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULE_PATH_BENEATH = 1
_VERSION_FLAG = 1
_PR_SET_NO_NEW_PRIVS = 38

_WRITE_FILE = 1 << 1
_READ_FILE, _READ_FOLDER = 1 << 2, 1 << 3
_READ = _READ_FILE | _READ_FOLDER
_REMOVE_AND_MAKE = sum(1 << bit for bit in range(4, 13))
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_TCP = 0b11
_SCOPE_SOCKETS_AND_SIGNALS = 0b11

_libc = ctypes.CDLL(None, use_errno=True)


def abi() -> int:
    """Return the version of Landlock's interface; 0 where there is no Landlock."""
    version: int = _libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG))
    return max(0, version)


def restrict(folders: Iterable[Path], files: Iterable[Path], *, readable: Iterable[Path] | None = None) -> bool:
    """Restrict writing, and perhaps reading, of this process and all its children.

    Args:
        folders: below these everything may be written, made and removed.
        files: these (devices) may be written; files that do not exist are passed over.
        readable: only these files, and what lies below these folders, may be read, beside what may be written; None:
            everything.

    Returns:
        False, with nothing changed, where Landlock is absent.
    """
    version = abi()
    if not version:
        return False
    rights = _WRITE_FILE | _REMOVE_AND_MAKE | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    read = 0 if readable is None else _READ
    attributes = struct.pack("=QQQ", rights | read, _TCP, _SCOPE_SOCKETS_AND_SIGNALS)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = _libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(size), ctypes.c_uint32(0))
    if ruleset < 0:
        return False
    try:
        for folder in folders:
            _allow(ruleset, folder, rights | read)
        for file in files:
            _allow(ruleset, file, _WRITE_FILE | (rights & _TRUNCATE) | (read & _READ_FILE))
        for place in readable or ():
            _allow(ruleset, place, read if place.is_dir() else _READ_FILE)
        _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        return bool(_libc.syscall(_RESTRICT_SELF, ruleset, ctypes.c_uint32(0)) == 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rule = struct.pack("=Qi", rights, place)
        _libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, ctypes.c_uint32(0))
    finally:
        os.close(place)
