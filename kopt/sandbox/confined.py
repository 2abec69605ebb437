"""Call a function in a child process that, with all its children, writes to given folders only and holds no keys.

This is the cage for whole programs that run code of others, a search on the problem of an archive.  Time, memory and
processes are not limited; each candidate inside has its own cage (`kopt.sandbox.pool`).
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kopt.errors import DeviceError, KoptError, error_line
from kopt.sandbox import landlock
from kopt.sandbox.cage import KEPT_VARIABLES, device_files, die_with_parent, leave_network
from kopt.sandbox.processes import kill_all

ALSO_KEPT = ("PYTHONPATH", "VIRTUAL_ENV", "TERM", "USER", "LOGNAME")
"""Variables that a whole program needs beside those that a candidate keeps."""
PROC = Path("/proc")
SWITCHES = PROC / "sys" / "kernel"


def confined_environment(home: Path, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of a confined program: no keys; home, caches and temporary files lie below `home`."""
    kept = {name: environ[name] for name in (*KEPT_VARIABLES, *ALSO_KEPT) if name in environ}
    folders = {"HOME": "", "XDG_CACHE_HOME": "cache", "TMPDIR": "tmp", "TRITON_CACHE_DIR": "triton"}
    return kept | {name: str(home / folder) for name, folder in folders.items()}


def check_confinable(gpu: bool) -> None:
    """Refuse a machine that cannot confine a program.

    Args:
        gpu: whether the program uses CUDA, which writes to /proc.

    Raises:
        DeviceError: one line.
    """
    if not landlock.abi():
        raise DeviceError("this machine cannot confine writing (its kernel has no Landlock)")
    if gpu and os.access(SWITCHES / "core_pattern", os.W_OK):
        raise DeviceError("this user may change the system's settings below /proc/sys, which CUDA needs to be open")


def run_confined(
    function: Callable[[], int], folders: Sequence[Path], environment: Mapping[str, str], *, gpu: bool = False
) -> int:
    """Call a function in a confined child process; return the status that it returns, or that its program exits with.

    Args:
        function: the function, which may replace the process by another program (`os.execve`).
        folders: existing folders, below which alone the child may write, make and remove.
        environment: the child's whole environment.
        gpu: whether the child uses CUDA.

    Raises:
        DeviceError: as for `check_confinable`.
    """
    check_confinable(gpu)
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        os._exit(_live(function, folders, environment, gpu, parent))
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    except KeyboardInterrupt:  # the child was interrupted too, and cleans up
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    finally:
        kill_all(pid)  # what it has left, before it is reaped and its pid another process's
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def _live(
    function: Callable[[], int], folders: Sequence[Path], environment: Mapping[str, str], gpu: bool, parent: int
) -> int:
    try:
        die_with_parent(parent)
        os.environ.clear()
        os.environ.update(environment)
        leave_network()
        if not landlock.restrict([*folders, *([PROC] if gpu else [])], device_files()):
            raise DeviceError("this machine cannot confine writing")
        return function()
    except (KoptError, OSError) as error:
        os.write(2, f"{error_line(error)}\n".encode())
    except KeyboardInterrupt:
        return 130
    except BaseException:  # noqa: BLE001 - the process ends here
        traceback.print_exc()
    return 2
