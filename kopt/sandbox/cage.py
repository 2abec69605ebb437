"""Confine a process that runs untrusted code.

`enter` is called in a freshly forked child.  It takes away inherited files and the environment, limits memory and file
sizes, and leaves only the scratch folder writable; `leave_namespaces` takes away the network and other processes.  A
restriction that the machine does not permit is left out; `cage_features` says what it permits, for the record and for
`kopt doctor`.  The cage does not stop native code that attacks the operating system's kernel or its own process.

Starting, watching and killing the child is the business of `kopt.sandbox.pool`.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import signal
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kopt.sandbox import landlock
from kopt.sandbox.environment import GPU_VARIABLE, NO_GPU

KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ", GPU_VARIABLE, "CUDA_HOME", "CUDA_PATH")
"""The only variables of the environment that a child inherits; API keys are not among them."""

_PR_SET_PDEATHSIG = 1
_NEWNET, _NEWUSER, _NEWPID = 0x40000000, 0x10000000, 0x20000000
_NAMESPACES = {"user": _NEWUSER, "network": _NEWNET, "process": _NEWPID}

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Limits:
    """Limit what one child may use."""

    wall_s: float = 60.0
    """Seconds from fork to result."""
    data_bytes: int | None = 8 << 30
    """Private writable memory of one process, inherited memory of its parent included."""
    address_bytes: int | None = None
    """Address space of one process; torch reserves much more than it uses, and CUDA far more still."""
    file_bytes: int = 256 << 20
    """Largest file that the child may write."""
    processes: int = 32
    """Processes at a time, helpers such as ptxas included; a child with more is killed."""
    output_bytes: int = 16 << 10
    """Bytes of the end of the child's stdout and stderr that are kept."""
    written_bytes: int = 32 << 20
    """Bytes that the child may write to stdout and stderr; a child that writes more is killed."""
    result_bytes: int = 1 << 30
    """Largest result that the child may send."""
    gpu: bool = False
    """The child uses CUDA: it stays in the common process namespace, which sharing device memory needs.  A child that
    does not use CUDA sees no GPU."""


def enter(scratch: Path, limits: Limits, keep: Collection[int]) -> None:
    """Confine this process, a child that has not touched anything untrusted yet.

    Args:
        scratch: the folder that stays writable; it becomes the home, working, temporary and Triton cache folder.
        limits: limits of the child.
        keep: file descriptors that stay open, beside 0, 1 and 2.
    """
    gc.freeze()
    _close_files({0, 1, 2, *keep})
    _limit_resources(limits)
    _scrub_environment(scratch, limits)
    os.chdir(scratch)
    # CUDA names its threads through /proc/self, and fails silently when it may not write there.
    landlock.restrict([scratch, Path("/proc/self")] if limits.gpu else [scratch], device_files())


def die_with_parent(parent: int) -> None:
    """Have the operating system kill this process when its parent dies.

    Args:
        parent: the parent's pid as seen before the fork; if the parent is another one now, it has died already.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def leave_namespaces(limits: Limits) -> frozenset[str]:
    """Move this process into new namespaces, as many as are permitted, and return which: `user`, `network`, `process`.

    A new process namespace holds for children only: the first child forked afterwards is its init.
    """
    choices = [("user", "network", "process"), ("user", "network"), ("network", "process"), ("network",)]
    if limits.gpu:
        choices = [("user", "network"), ("network",)]
    user, group = os.getuid(), os.getgid()
    for names in choices:
        if _libc.unshare(sum(_NAMESPACES[name] for name in names)) == 0:
            if "user" in names:
                _keep_identity(user, group)
                _limit(resource.RLIMIT_NPROC, 4 * limits.processes)
            return frozenset(names)
    return frozenset()


def leave_network() -> bool:
    """Move this process into a network without connections; return whether the machine permits it."""
    user, group = os.getuid(), os.getgid()
    for names in (("user", "network"), ("network",)):
        if _libc.unshare(sum(_NAMESPACES[name] for name in names)) == 0:
            if "user" in names:
                _keep_identity(user, group)
            return True
    return False


def device_files() -> list[Path]:
    """List the device files that a caged process may write to."""
    plain = [Path("/dev") / name for name in ("null", "zero", "full", "random", "urandom", "tty")]
    return plain + sorted(Path("/dev").glob("nvidia*"))


@cache
def cage_features() -> dict[str, bool | str]:
    """Find out which restrictions this machine permits, by trying them in a child.

    Returns:
        By name of the restriction: whether it is there, or how.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, ",".join(sorted(leave_namespaces(Limits()))).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        namespaces = pipe.read().decode().split(",")
    os.waitpid(child, 0)
    version = landlock.abi()
    return {f"{name} namespace": name in namespaces for name in ("user", "network", "process")} | {
        "only scratch writable (Landlock)": f"ABI {version}" if version else False,
        "signals to others blocked (Landlock)": version >= 6,
        "process limit": "kernel" if "user" in namespaces and os.getuid() != 0 else "watched",
        "memory limit": True,
    }


def _keep_identity(user: int, group: int) -> None:
    """Map user and group ids to themselves in the new user namespace."""
    for name, line in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        try:
            Path("/proc/self", name).write_text(line)
        except OSError:
            return


def _close_files(keep: Collection[int]) -> None:
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in keep:
            try:
                os.close(int(name))
            except OSError:
                continue  # the descriptor that listed the folder


def _limit_resources(limits: Limits) -> None:
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, limits.file_bytes)
    if limits.data_bytes is not None:
        _limit(resource.RLIMIT_DATA, limits.data_bytes)
    if limits.address_bytes is not None:
        _limit(resource.RLIMIT_AS, limits.address_bytes)


def _limit(which: int, value: int) -> None:
    """Set a soft and hard resource limit, as far as the present hard limit permits."""
    _, hard = resource.getrlimit(which)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (value, value))


def _scrub_environment(scratch: Path, limits: Limits) -> None:
    """Reduce the environment to `KEPT_VARIABLES`, in libc and in the block that /proc shows."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    if not limits.gpu:
        kept |= NO_GPU
    os.environ.clear()
    for name in ("HOME", "TMPDIR", "TRITON_CACHE_DIR"):
        kept[name] = str(scratch / name.lower())
        (scratch / name.lower()).mkdir(exist_ok=True)
    os.environ.update(kept)
    tempfile.tempdir = None
    _erase_initial_environment()


def _erase_initial_environment() -> None:
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[47]), int(fields[48])
    if 0 < start < end:
        ctypes.memset(start, 0, end - start)
