"""Close system calls that make memory which outlives a process, or which no limit of a process counts.

A System V segment or a message queue stays when its maker has ended, and `memfd_create` makes files in memory.  The
filter is a program of classic BPF that the operating system runs at every system call of this process and its children.
Source: Documentation/userspace-api/seccomp_filter.rst of the Linux kernel.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
from collections.abc import Sequence

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 22, 38
_MODE_FILTER = 2
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_LOAD, _JUMP_IF_EQUAL, _JUMP_IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE = 0, 4
"""Places of the call's number and of the architecture in the data that a filter reads."""
_OTHER_ABI = 0x40000000
"""Numbers from here on belong to x32, a second set of calls of x86-64."""

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
LASTING = {
    "x86_64": {"shmget": 29, "semget": 64, "msgget": 68, "mq_open": 240},
    "aarch64": {"shmget": 194, "semget": 190, "msgget": 186, "mq_open": 180},
}
"""Calls that make what outlives its maker, by machine."""
UNCOUNTED = {"x86_64": {"memfd_create": 319}, "aarch64": {"memfd_create": 279}}
"""Calls that make memory which is counted nowhere, by machine."""

_libc = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def close_calls(*, memory_files: bool) -> bool:
    """Refuse the calls of `LASTING` in this process and all its children, for good, with EPERM.

    Args:
        memory_files: refuse those of `UNCOUNTED` too.

    Returns:
        False, with nothing changed, where there is no seccomp or the machine is of another architecture.
    """
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        return False
    numbers = [*LASTING[machine].values(), *(UNCOUNTED[machine].values() if memory_files else ())]
    code = _compiled(_ARCHITECTURES[machine], numbers)
    buffer = ctypes.create_string_buffer(code)
    program = _Program(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    return bool(_libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0) == 0)


def _compiled(architecture: int, numbers: Sequence[int]) -> bytes:
    """Write the filter: calls of another architecture, and those with one of the numbers, are refused."""
    refuse = _ERRNO | errno.EPERM
    steps = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_IF_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, refuse),
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_IF_AT_LEAST, len(numbers) + 1, 0, _OTHER_ABI),
        *((_JUMP_IF_EQUAL, len(numbers) - place, 0, number) for place, number in enumerate(numbers)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, refuse),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
