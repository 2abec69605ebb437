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
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kopt.sandbox import landlock, seccomp
from kopt.sandbox.environment import GPU_VARIABLE, NO_GPU
from kopt.sandbox.group import groups_permitted

KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ", GPU_VARIABLE, "CUDA_HOME", "CUDA_PATH")
"""The only variables of the environment that a child inherits; API keys are not among them."""

PROJECT = Path(__file__).resolve().parents[2]
"""The folder in which kopt lies; in a checkout it holds problems and results too."""
SYSTEM = (
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/opt", "/sys", "/dev", "/run", "/var/lib",
    "/nix/store", "/gnu/store",
)  # fmt: skip
"""Folders of an operating system, as far as they exist."""

THREADS_PER_CORE = 4
"""Threads that a child may have for each core of the machine: the pools of OpenMP, BLAS and torch have one each."""

_PR_SET_PDEATHSIG = 1
_NAMESPACES = {"user": 0x10000000, "network": 0x40000000, "process": 0x20000000, "ipc": 0x08000000}

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Limits:
    """Limit what one child may use."""

    wall_s: float = 60.0
    """Seconds from fork to result."""
    data_bytes: int | None = 8 << 30
    """Memory, bytes: the private writable memory of one process, inherited memory of its parent included, and the
    memory of all processes of the child together, private, shared or of files in memory, what is inherited left out."""
    address_bytes: int | None = None
    """Address space of one process; torch reserves much more than it uses, and CUDA far more still."""
    file_bytes: int = 256 << 20
    """Largest file that the child may write."""
    scratch_bytes: int = 1 << 30
    """Bytes of all files in the scratch folder together; a child with more is killed."""
    scratch_files: int = 20_000
    """Files and folders in the scratch folder; a child with more is killed."""
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
    readable: tuple[Path, ...] = ()
    """Files and folders that the child may read beside those of the system and of Python."""


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
    writable = [scratch, Path("/proc/self")] if limits.gpu else [scratch]
    landlock.restrict(writable, device_files(), readable=[*readable_places(limits.gpu), *limits.readable])
    seccomp.close_calls(memory_files=not limits.gpu)


def die_with_parent(parent: int) -> None:
    """Have the operating system kill this process when its parent dies.

    Args:
        parent: the parent's pid as seen before the fork; if the parent is another one now, it has died already.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def leave_namespaces(limits: Limits) -> frozenset[str]:
    """Move this process into new namespaces, as many as are permitted, and return which.

    They are `user`, `network`, `process` and `ipc` (System V segments and message queues).  A new process namespace
    holds for children only: the first child forked afterwards is its init.  A child on a GPU keeps the common process
    and ipc namespaces, which sharing device memory needs.
    """
    choices = [
        ("user", "network", "process", "ipc"), ("network", "process", "ipc"), ("user", "network"), ("network",),
    ]  # fmt: skip
    if limits.gpu:
        choices = [("user", "network"), ("network",)]
    user, group = os.getuid(), os.getgid()
    for names in choices:
        if _libc.unshare(sum(_NAMESPACES[name] for name in names)) == 0:
            if "user" in names:
                _keep_identity(user, group)
                threads = THREADS_PER_CORE * (os.cpu_count() or 1)  # the kernel counts them as processes
                _limit(resource.RLIMIT_NPROC, 4 * limits.processes + threads)
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


def readable_places(gpu: bool) -> list[Path]:
    """List the files and folders that a caged process may read: the system's, the interpreter's and its packages.

    Problems, runs, stores, other candidates' folders and the home folder are not among them, nor is anything that /proc
    shows of other processes, or of the memory and the arguments of this one.

    Args:
        gpu: whether the process uses CUDA, which looks at its threads.
    """
    own = Path("/proc/self").resolve()
    closed = {"mem", "environ", "cmdline", "auxv", "pagemap", "root", "cwd", *(() if gpu else ("task",))}
    return [
        *installed_places(),
        *(entry for entry in Path("/proc").iterdir() if not entry.name.isdigit() and not entry.is_symlink()),
        *(own / name for name in os.listdir(own) if name not in closed),
    ]


@cache
def installed_places() -> tuple[Path, ...]:
    """List the folders of the operating system and of this Python, without those that hold the project's own data."""
    private = {Path.home().resolve(), Path(tempfile.gettempdir()).resolve(), Path.cwd(), PROJECT}
    folders = (*SYSTEM, sys.prefix, sys.base_prefix, *_package_folders(), *_library_folders(), *_tool_folders())
    paths = [Path(path).resolve() for path in folders]
    wanted = [path for path in dict.fromkeys(paths) if path.exists() and path not in private and path != Path("/")]
    return (PROJECT / "kopt", *(place for path in wanted for place in _without(path, private)))


def _package_folders() -> list[str]:
    """Return the folders of installed packages, and of the packages that this process has imported."""
    installed = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    modules = [module for name, module in list(sys.modules.items()) if "." not in name]
    packages = [folder for module in modules for folder in getattr(module, "__path__", ())]
    return [*installed, *(folder for folder in packages if not _is_own(Path(folder)))]


def _is_own(folder: Path) -> bool:
    """Return whether a folder lies in the project or in the working folder, and not in this Python's."""
    return not folder.is_relative_to(sys.prefix) and any(folder.is_relative_to(own) for own in (PROJECT, Path.cwd()))


def _library_folders() -> list[str]:
    """Return the folders of the libraries that this process has loaded, and of those that it would look in."""
    named = [os.environ.get(name, "") for name in ("LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH")]
    lines = Path("/proc/self/maps").read_text(errors="replace").splitlines()
    loaded = {os.path.dirname(line.split(maxsplit=5)[-1]) for line in lines if ".so" in line and "/" in line}
    return [*(part for value in named for part in value.split(":") if part), *sorted(loaded)]


def _tool_folders() -> list[str]:
    """Return the folders of programs, and of the files that compilers look for beside them."""
    tools = [Path(part) for part in os.environ.get("PATH", "").split(":") if part.startswith("/")]
    beside = ("lib", "lib64", "libexec", "include")
    return [str(place) for tool in tools for place in (tool, *(tool.parent / name for name in beside))]


def _without(folder: Path, private: Collection[Path], depth: int = 0) -> Iterator[Path]:
    """Yield a folder, or, where it holds a private one, what lies beside that."""
    inside = [path for path in private if path == folder or path.is_relative_to(folder)]
    if not inside:
        yield folder
    elif folder not in private and folder.is_dir():
        for entry in folder.iterdir():
            yield from _without(entry, inside, depth + 1)


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
    namespaces = _in_child(lambda: ",".join(sorted(leave_namespaces(Limits())))).decode().split(",")
    version = landlock.abi()
    return {f"{name} namespace": name in namespaces for name in _NAMESPACES} | {
        "only scratch writable (Landlock)": f"ABI {version}" if version else False,
        "problems and runs unreadable (Landlock)": bool(version),
        "System V memory closed (seccomp)": b"1" in _in_child(lambda: str(int(seccomp.close_calls(memory_files=True)))),
        "signals to others blocked (Landlock)": version >= 6,
        "process limit": "kernel" if "user" in namespaces and os.getuid() != 0 else "watched",
        "memory limit": "kernel" if groups_permitted() else "watched",
    }


def _in_child(function: Callable[[], str]) -> bytes:
    """Return what a function returns in a forked child."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, function().encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return answer


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
    sys.argv, sys.orig_argv = sys.argv[:1], sys.orig_argv[:1]
    erase_initial_memory()


def erase_initial_memory() -> None:
    """Overwrite the arguments and the environment that the process was started with."""
    for start, end in initial_memory():
        ctypes.memset(start, 0, end - start)


def initial_memory() -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the addresses, from and to, of the arguments and of the environment that the process was started with."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    spans = ((int(fields[place]), int(fields[place + 1])) for place in (45, 47))
    arguments, environment = ((start, max(start, end) if start else 0) for start, end in spans)
    return arguments, environment
