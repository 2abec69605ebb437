"""Lease a GPU to a process, by locks of the operating system that end with their holder.

    slot       held as long as a process works on a GPU; a GPU has one for each process that may share it
    shared     held during work that is not timed; any number of slot holders may have it at once
    exclusive  held during timing: no other process has `shared` or `exclusive` meanwhile

A job of a search takes one slot of a GPU with a single slot, and so has the GPU alone; `shared` and `exclusive` are for
processes that share one.

A lock belongs to the open file, so it ends when the last process that inherited the file ends.  A caged contestant
closes inherited files, so it dies with its parent instead (`kopt.sandbox.cage.die_with_parent`).  Every wait is bounded
and names what it waits for.

A job that does not use its GPU for a while, since it compiles, can lend it (`lend`), in the process that leased it or
in a fork of that one.

The folder of the locks must lie on this machine and be the same for all processes that share its GPUs; the /tmp of a
container is not.
"""

from __future__ import annotations

import fcntl
import json
import logging
import mmap
import os
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from kopt.device.hardware.gpus import Gpu
from kopt.device.hardware.turns import turn
from kopt.errors import DeviceError
from kopt.model.base import Value
from kopt.sandbox.environment import GPU_VARIABLE, cuda_is_initialised

FOLDER = Path("/tmp/kopt-leases")
"""Folder of the locks; not below TMPDIR, which may differ between jobs of one machine."""

POLL_S = 0.005
BEHIND_S = 0.05
"""Time between two looks of a process that others are before, s."""
COMMAND_CHARS = 160
LENT_WAIT_S = 60.0
"""Time that a job has waited, in all, for a GPU that it has lent, after which it lends no more, s."""
AGAIN_S = 600.0
"""Longest wait for a GPU that was lent, s."""
GONE_S = 7200.0
"""The same where the process that had lent it has ended, s."""

log = logging.getLogger(__name__)


class Holder(Value):
    """The process that holds a lock, as the lock's file says."""

    pid: int
    host: str
    command: str


class GpuBusy(DeviceError):
    """A GPU did not become free in time."""

    def __init__(self, what: str, seconds: float, holders: Sequence[Holder]) -> None:
        named = [f"process {holder.pid} on {holder.host} ({holder.command})" for holder in holders]
        held_by = "; ".join(named) or "an unnamed process"
        super().__init__(f"waited {seconds:g} s for {what}, held by {held_by}: wait longer, or end what holds it")
        self.what = what
        self.seconds = seconds
        self.holders = tuple(holders)

    def __reduce__(self) -> tuple[type[GpuBusy], tuple[str, float, tuple[Holder, ...]]]:
        """Let the error come whole out of the process that waited."""
        return GpuBusy, (self.what, self.seconds, self.holders)


_TIMES = struct.Struct("dd")


class Account:
    """For how long a GPU was lent, and waited for afterwards, in memory that forks share."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _TIMES.size)

    @property
    def lent_s(self) -> float:
        """Time for which the GPU was lent, waiting for it included, s."""
        return float(_TIMES.unpack(self._memory[:])[0])

    @property
    def waited_s(self) -> float:
        """Time for which the job waited to have it again, s."""
        return float(_TIMES.unpack(self._memory[:])[1])

    def add(self, lent_s: float, waited_s: float) -> None:
        """Count one loan; one process of a job at a time lends its GPU."""
        self._memory[:] = _TIMES.pack(self.lent_s + lent_s, self.waited_s + waited_s)


@dataclass(frozen=True)
class Lease:
    """A GPU that this process may use until the lease ends."""

    gpu: Gpu
    slot: int
    """Number of the GPU's slot, from 0."""
    folder: Path
    """Folder of this GPU's locks."""
    descriptor: int
    """Open file that holds the lock of the slot."""
    account: Account
    """For how long the GPU was lent; this process and its forks share it."""

    def wait_again(self, wait_s: float) -> None:
        """Wait, in turn, for the lock of the slot, unless this process or a fork of it holds it.

        Raises:
            GpuBusy: other processes held it for `wait_s` seconds.
        """
        until = time.monotonic() + wait_s
        with ExitStack() as stack:
            place = None
            while not ((place is None or place.has_come()) and _locks(self.descriptor, fcntl.LOCK_EX)):
                if time.monotonic() > until:
                    what = f"{self.gpu.name} {self.gpu.uuid}, which was lent"
                    raise GpuBusy(what, wait_s, holders(self.folder))
                if place is None:
                    place = stack.enter_context(turn(self.folder))
                time.sleep(POLL_S if place.behind is None else BEHIND_S)
        _sign(self.descriptor)

    @contextmanager
    def exclusive(self, wait_s: float) -> Iterator[None]:
        """Use the GPU alone, to time something; processes that ask later wait until this one is done.

        Raises:
            GpuBusy: other processes still used the GPU after `wait_s` seconds.
        """
        until = time.monotonic() + wait_s
        what = f"{self.gpu.name} {self.gpu.uuid} alone"
        with self._locked("gate", fcntl.LOCK_EX, until, what, wait_s):
            activity = self._wait_for("activity", fcntl.LOCK_EX, until, what, wait_s)
            try:
                _sign(activity)
                yield
            finally:
                os.close(activity)

    @contextmanager
    def shared(self, wait_s: float) -> Iterator[None]:
        """Use the GPU for work that is not timed, beside other such work.

        Raises:
            GpuBusy: another process was still timing, or waiting to time, after `wait_s` seconds.
        """
        until = time.monotonic() + wait_s
        what = f"{self.gpu.name} {self.gpu.uuid} while nothing is timed"
        with self._locked("gate", fcntl.LOCK_EX, until, what, wait_s):
            activity = self._wait_for("activity", fcntl.LOCK_SH, until, what, wait_s)
        try:
            yield
        finally:
            os.close(activity)

    @contextmanager
    def _locked(self, name: str, mode: int, until: float, what: str, wait_s: float) -> Iterator[None]:
        descriptor = self._wait_for(name, mode, until, what, wait_s)
        try:
            yield
        finally:
            os.close(descriptor)

    def _wait_for(self, name: str, mode: int, until: float, what: str, wait_s: float) -> int:
        """Wait for a lock and return the file descriptor that holds it.

        Raises:
            GpuBusy: the time is `until`, and the lock is still held.
        """
        while True:
            descriptor = _try_lock(self.folder / f"{name}.lock", mode)
            if descriptor is not None:
                return descriptor
            if time.monotonic() > until:
                raise GpuBusy(what, wait_s, [holder for holder in holders(self.folder) if holder.pid != os.getpid()])
            time.sleep(POLL_S)


_held: ContextVar[Lease | None] = ContextVar("held", default=None)
"""The lease of this process, or of the one that it was forked from."""


@contextmanager
def lease(
    gpus: Sequence[Gpu], *, wait_s: float, workers_per_gpu: int = 1, folder: Path = FOLDER, patience_s: float = 0.0
) -> Iterator[Lease]:
    """Lease the least used of these GPUs, the first of equals; who asked earlier gets one earlier.

    This process is not bound to the GPU yet: a process that uses CUDA under the lease must be given
    `lease.gpu.environment` before it initialises CUDA.  CUDA stays bound then, so that process leases no more.

    Args:
        gpus: the GPUs to choose from: `visible_gpus(os.environ)`, so that a scheduler's own choice stands.
        wait_s: longest wait, s.
        workers_per_gpu: slots of a GPU; all processes that share a machine must use the same number.
        folder: folder of the locks.
        patience_s: time for which those who ask later go first, s.

    Raises:
        DeviceError: there is no GPU, CUDA is initialised in this process already, or the folder cannot be written.
        GpuBusy: all slots were taken for `wait_s` seconds.
    """
    if not gpus:
        raise DeviceError(f"no GPU is visible: look at nvidia-smi and at {GPU_VARIABLE}")
    if cuda_is_initialised():
        raise DeviceError("CUDA is initialised already: lease a GPU before anything uses CUDA in this process")
    asked_at = time.monotonic()
    free = _free_slot(gpus, workers_per_gpu, wait_s, folder, patience_s)
    leased_at = time.monotonic()
    log.info("%s leased after %.1f s", free.gpu.uuid, leased_at - asked_at)
    before = _held.set(free)
    try:
        yield free
    finally:
        _held.reset(before)
        lent_s = free.account.lent_s
        lent = f", lent for {lent_s:.1f} s more" if lent_s else ""
        log.info("%s given back after %.1f s%s", free.gpu.uuid, time.monotonic() - leased_at - lent_s, lent)
        os.close(free.descriptor)


@contextmanager
def lend() -> Iterator[None]:
    """Let others have the leased GPU inside the block, in which no process of this job uses it; wait for it at the end.

    Once the job has waited for `LENT_WAIT_S` in all, the GPU stays with it.  A block inside of another one lends
    nothing more, and where nothing is leased there is nothing to lend.

    Raises:
        GpuBusy: others held the GPU for `AGAIN_S` seconds after the block.
    """
    held = _held.get()
    if held is None or held.account.waited_s > LENT_WAIT_S:
        yield
        return
    nobodys = _held.set(None)
    since = time.monotonic()
    fcntl.flock(held.descriptor, fcntl.LOCK_UN)
    try:
        yield
    finally:
        _held.reset(nobodys)
        until = time.monotonic()
        try:
            held.wait_again(AGAIN_S)
        finally:
            held.account.add(time.monotonic() - since, time.monotonic() - until)


def have_again() -> None:
    """Wait for the leased GPU where a fork of this process has lent it and ended before it had it again.

    Raises:
        GpuBusy: others held the GPU for `GONE_S` seconds.
    """
    held = _held.get()
    if held is not None:
        held.wait_again(GONE_S)


def was_busy(error: Exception) -> bool:
    """Return whether a process failed since it did not get the GPU again that it had lent."""
    return GpuBusy.__name__ in str(error)


def holders(folder: Path) -> list[Holder]:
    """Read which living processes have signed a lock in a GPU's folder, each once."""
    by_pid: dict[int, Holder] = {}
    for path in sorted(folder.glob("*.lock")):
        with suppress(OSError, ValueError):
            holder = Holder.model_validate_json(path.read_bytes())
            if holder.host != socket.gethostname() or Path("/proc", str(holder.pid)).exists():
                by_pid[holder.pid] = holder
    return list(by_pid.values())


def _free_slot(gpus: Sequence[Gpu], slots: int, wait_s: float, folder: Path, patience_s: float) -> Lease:
    """Wait for a free slot; return its lease.

    All first slots are tried before a second one, so that GPUs fill evenly.

    Raises:
        GpuBusy: no slot became free in time.
    """
    folders = {gpu.uuid: _folder(folder, gpu) for gpu in gpus}
    until = time.monotonic() + wait_s
    with ExitStack() as stack:
        turns = {uuid: stack.enter_context(turn(locks, patience_s)) for uuid, locks in folders.items()}
        while True:
            open_to_us = [gpu for gpu in gpus if turns[gpu.uuid].has_come()]
            for slot in range(slots):
                for gpu in open_to_us:
                    descriptor = _try_lock(folders[gpu.uuid] / f"slot_{slot}.lock", fcntl.LOCK_EX)
                    if descriptor is not None:
                        _sign(descriptor)
                        return Lease(gpu, slot, folders[gpu.uuid], descriptor, Account())
            if time.monotonic() > until:
                what = f"one of {slots} slots on {', '.join(gpu.uuid for gpu in gpus)}"
                raise GpuBusy(what, wait_s, [holder for locks in folders.values() for holder in holders(locks)])
            time.sleep(POLL_S if open_to_us else BEHIND_S)


def _folder(root: Path, gpu: Gpu) -> Path:
    """Make the GPU's folder of locks, which every user of the machine may write to."""
    folder = root / gpu.uuid.replace("/", "_")
    for path in (root, folder):
        with suppress(FileExistsError):
            path.mkdir(parents=True)
            path.chmod(0o1777)
    return folder


def _try_lock(path: Path, mode: int) -> int | None:
    """Return a file descriptor that holds the lock, or None when another process holds it."""
    descriptor = _open(path)
    if _locks(descriptor, mode):
        return descriptor
    os.close(descriptor)
    return None


def _locks(descriptor: int, mode: int) -> bool:
    """Lock an open file, unless another process holds its lock; return whether it is locked."""
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open(path: Path) -> int:
    """Open a lock's file, with `O_CREAT` only where it is missing: Linux refuses that for files of others in /tmp.

    Raises:
        DeviceError: the folder cannot be written.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        try:
            return os.open(path, flags)
        except FileNotFoundError:
            descriptor = os.open(path, flags | os.O_CREAT, 0o666)
            with suppress(PermissionError):
                os.fchmod(descriptor, 0o666)
            return descriptor
    except OSError as error:
        raise DeviceError(f"cannot open the GPU lock {path}: {error.strerror}") from error


def _sign(descriptor: int) -> None:
    """Write this process into a lock's file, as its holder."""
    command = " ".join(Path("/proc/self/cmdline").read_bytes().decode(errors="replace").split("\0")).strip()
    holder = Holder(pid=os.getpid(), host=socket.gethostname(), command=command[:COMMAND_CHARS])
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(holder.model_dump()).encode(), 0)
