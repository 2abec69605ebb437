"""Find the parent that fits a process: a private folder, and a name that follows from all that a process inherits.

Two processes with one name have the same user, Python, checkout, limits, namespaces and Slurm job, and the same values
of all variables that a library reads when it is loaded.  Other variables reach a job by its request alone.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import resource
import stat
import sys
from contextlib import suppress

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
"""The checkout."""
FOLDER = f"/tmp/kopt-warm-{os.getuid()}"
"""Folder of this user's sockets: a short name, since Linux limits a socket's to 107 bytes."""
TIERS = ("light", "torch")
"""What a parent has imported: `torch` means torch and Triton beside everything that `light` means."""

NAMES = frozenset({
    "HOME", "PATH", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TMP", "USER", "LOGNAME", "VIRTUAL_ENV",
    "SLURM_JOB_ID", "SLURM_STEP_ID",
})  # fmt: skip
PREFIXES = (
    "PYTHON", "LD_", "LC_", "MALLOC_", "JE_", "GLIBC_", "TORCH", "PYTORCH", "TRITON", "CUDA", "NVIDIA_", "NCCL_",
    "OMP_", "GOMP_", "KMP_", "MKL_", "GOTO_", "OPENBLAS_", "VECLIB_", "NUMEXPR_", "NPY_", "ARROW_", "XDG_",
    "KOPT_PYTHON", "KOPT_HOME",
)  # fmt: skip
"""Names, and beginnings of names, of the variables that a parent has too."""
SECRET = ("KEY", "TOKEN", "SECRET", "PASSW", "CREDENTIAL", "AUTH", "COOKIE")
"""Parts of the names of variables that no parent gets."""
THREADS = (
    "OMP_NUM_THREADS", "GOTO_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)  # fmt: skip
"""Variables that say how many threads a library may start: one in a parent, in a job what its request says."""
ALONE = {"JE_ARROW_MALLOC_CONF": "background_thread:false"} | dict.fromkeys(THREADS, "1")
"""Variables of a parent alone, which starts no thread: a fork would lose it."""

PARENT, KEEPER = "kopt-warm", "kopt-keeper"
"""Names of the parents, and of the processes that keep jobs."""

_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
_STATUS = ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")


class Odd(Exception):
    """Something is not as it must be; the job runs in its own process."""


def shared_variables() -> dict[str, str]:
    """Return the variables of this process that its parent has too."""
    return {
        name: value
        for name, value in os.environ.items()
        if (name in NAMES or name.startswith(PREFIXES)) and name not in THREADS and not _is_secret(name)
    }


def _is_secret(name: str) -> bool:
    return any(part in name.upper() for part in SECRET)


def parents_variables() -> dict[str, str]:
    """Return the whole environment of a parent."""
    return ALONE | shared_variables()


def name_of_parent() -> str:
    """Digest all that this process would inherit from a parent, or would share with it.

    Raises:
        Odd: modules would be looked for below the working directory, which differs from job to job.
    """
    if not all(os.path.isabs(path) for path in os.environ.get("PYTHONPATH", "/").split(os.pathsep)):
        raise Odd("PYTHONPATH has a relative folder")
    root = os.stat("/")
    limited = sorted(name for name in dir(resource) if name.startswith("RLIMIT_"))
    limits = [resource.getrlimit(getattr(resource, name)) for name in limited]
    parts = [
        os.uname()[1], sys.executable, sys.version, tuple(sys.flags), sys._xoptions, sys.warnoptions, ROOT, limits,
        sorted(os.sched_getaffinity(0)), os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0),
        *(_text(f"/proc/self/{name}") for name in ("cgroup", "personality", "oom_score_adj")),
        restrictions("self"), root.st_dev, root.st_ino, shared_variables(),
    ]  # fmt: skip
    text = json.dumps(parts, sort_keys=True)
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=16).hexdigest()


def restrictions(pid: int | str) -> list[str]:
    """Return the identity, the restrictions and the namespaces of a process, as `/proc` shows them.

    Raises:
        OSError: the process has gone, or is not this user's.
    """
    lines = [line for line in _text(f"/proc/{pid}/status").splitlines() if line.split(":")[0] in _STATUS]
    spaces = [f"/proc/{pid}/ns/{name}" for name in _NAMESPACES]
    return lines + [os.readlink(path) for path in spaces if os.path.lexists(path)]


def private_folder() -> str:
    """Return the folder of this user's sockets, made where it is missing.

    Raises:
        Odd: the folder, or the one around it, could be another user's.
        OSError: the folder cannot be made.
    """
    folder = FOLDER
    above = os.stat(os.path.dirname(folder))
    if above.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not above.st_mode & stat.S_ISVTX:
        raise Odd("other users may rename files in /tmp")
    with suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise Odd(f"{folder} is not this user's alone")
    return folder


def lock_path(folder: str, name: str) -> str:
    """Return the file that a process locks to start the parent, and shows to prove that it may write it."""
    return f"{folder}/{name}.lock"


def socket_path(folder: str, name: str, tier: str) -> str:
    """Return the socket of one tier."""
    return f"{folder}/{name}.{tier}"


def note_path(folder: str, name: str) -> str:
    """Return the file that says for which checkout a parent works, as which process."""
    return f"{folder}/{name}.note"


def log_path(folder: str, name: str) -> str:
    """Return the file that says why a parent has failed."""
    return f"{folder}/{name}.log"


def remove_files(folder: str, name: str, lock: os.stat_result | None = None) -> None:
    """Remove all files of a parent that has ended or is about to end, unless a client holds the lock.

    Args:
        folder: the folder of sockets.
        name: the parent's name.
        lock: the lock's file as the parent knows it; nothing is removed when it is another one by now.
    """
    path = lock_path(folder, name)
    with suppress(OSError):
        held = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            here = os.fstat(held)
            if os.path.samestat(os.stat(path), here) and os.path.samestat(lock or here, here):
                sockets = [socket_path(folder, name, tier) for tier in TIERS]
                for file in (*sockets, note_path(folder, name), log_path(folder, name), path):
                    with suppress(FileNotFoundError):
                        os.unlink(file)
        finally:
            os.close(held)


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        return ""
