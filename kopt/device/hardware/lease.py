"""Who may use which GPU, and when: leases held by locks of the operating system, which die with their holder.

    slot       held as long as a process works on a GPU; a GPU has as many as processes may share it
    shared     held while work that is not timed runs on the GPU; any number of slot holders at once
    exclusive  held while something is timed: nobody else has `shared` or `exclusive` meanwhile

A lock belongs to the open file, so it ends when the last process that inherited it ends.  A child that must not
outlive its lease without holding it (a caged contestant closes what it inherits) dies with its parent by
`kopt.sandbox.cage.die_with_parent`.  Every wait is bounded and names what it waits for.

The folder of the locks must lie on this machine and be the same for all who share it; /tmp of a container is not.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from kopt.device.hardware.gpus import VISIBLE, Gpu
from kopt.errors import DeviceError
from kopt.model.base import Value

FOLDER = Path("/tmp/kopt-leases")
"""Not below TMPDIR, which jobs of one machine may have each for itself."""

POLL_S = 0.005
COMMAND_CHARS = 160

_CUDA_NOT_INITIALISED = 3


class Holder(Value):
    """Who holds a lock, as the lock's file says."""

    pid: int
    host: str
    command: str


class GpuBusy(DeviceError):
    """A wait for a GPU was over before it was free."""

    def __init__(self, what: str, seconds: float, holders: Sequence[Holder]) -> None:
        who = "; ".join(f"process {one.pid} on {one.host} ({one.command})" for one in holders) or "a process unnamed"
        super().__init__(f"waited {seconds:g} s for {what}, held by {who}: wait longer, or end what holds it")
        self.what = what
        self.holders = tuple(holders)


@dataclass(frozen=True)
class Lease:
    """A GPU that this process may use until the lease ends."""

    gpu: Gpu
    slot: int
    """Which of the GPU's slots, from 0."""
    folder: Path
    """Where this GPU's locks lie."""

    @contextmanager
    def exclusive(self, wait_s: float) -> Iterator[None]:
        """Have the GPU alone, to time something; newcomers queue behind this wait.

        Raises:
            GpuBusy: others were not done after `wait_s` seconds.
        """
        until = time.monotonic() + wait_s
        what = f"{self.gpu.name} {self.gpu.uuid} alone"
        with self._locked("gate", fcntl.LOCK_EX, until, what, wait_s):
            activity = self._take("activity", fcntl.LOCK_EX, until, what, wait_s)
            try:
                _sign(activity)
                yield
            finally:
                os.close(activity)

    @contextmanager
    def shared(self, wait_s: float) -> Iterator[None]:
        """Use the GPU for what is not timed, beside others who do.

        Raises:
            GpuBusy: something was still being timed, or waited to be, after `wait_s` seconds.
        """
        until = time.monotonic() + wait_s
        what = f"{self.gpu.name} {self.gpu.uuid} while nothing is timed"
        with self._locked("gate", fcntl.LOCK_EX, until, what, wait_s):
            activity = self._take("activity", fcntl.LOCK_SH, until, what, wait_s)
        try:
            yield
        finally:
            os.close(activity)

    @contextmanager
    def _locked(self, name: str, mode: int, until: float, what: str, wait_s: float) -> Iterator[None]:
        descriptor = self._take(name, mode, until, what, wait_s)
        try:
            yield
        finally:
            os.close(descriptor)

    def _take(self, name: str, mode: int, until: float, what: str, wait_s: float) -> int:
        """A descriptor that holds the lock."""
        while True:
            descriptor = _try_lock(self.folder / f"{name}.lock", mode)
            if descriptor is not None:
                return descriptor
            if time.monotonic() > until:
                others = [one for one in holders(self.folder) if one.pid != os.getpid()]
                raise GpuBusy(what, wait_s, others)
            time.sleep(POLL_S)


@contextmanager
def lease(gpus: Sequence[Gpu], *, wait_s: float, workers_per_gpu: int = 1, folder: Path = FOLDER) -> Iterator[Lease]:
    """Lease one of these GPUs and bind this process to it through `CUDA_VISIBLE_DEVICES`.

    The emptiest GPU is taken, the first of equals.  The variable is set back when the lease ends, but CUDA, once
    initialised, stays bound: a process leases once.

    Args:
        gpus: what to choose from: `visible_gpus(os.environ)`, so that a scheduler's own choice stands.
        wait_s: longest wait in seconds.
        workers_per_gpu: slots of a GPU; all who share a machine must say the same.
        folder: where locks lie.

    Raises:
        DeviceError: there is no GPU, or CUDA is initialised in this process already.
        GpuBusy: all slots were taken for `wait_s` seconds.
    """
    if not gpus:
        raise DeviceError(f"no GPU is visible: look at nvidia-smi and at {VISIBLE}")
    if cuda_is_initialised():
        raise DeviceError("CUDA is initialised already: lease a GPU before anything uses CUDA in this process")
    found, descriptor = _free_slot(gpus, workers_per_gpu, wait_s, folder)
    before = os.environ.get(VISIBLE)
    os.environ[VISIBLE] = found.gpu.uuid
    try:
        yield found
    finally:
        os.close(descriptor)
        if before is None:
            del os.environ[VISIBLE]
        else:
            os.environ[VISIBLE] = before


def cuda_is_initialised() -> bool:
    """Whether CUDA is initialised in this process, so that `CUDA_VISIBLE_DEVICES` comes too late."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return True
    try:
        driver = ctypes.CDLL("libcuda.so.1", mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
    except OSError:
        return False
    return bool(driver.cuDeviceGetCount(ctypes.byref(ctypes.c_int())) != _CUDA_NOT_INITIALISED)


def holders(folder: Path) -> list[Holder]:
    """Who has signed a lock in a GPU's folder and still lives, each once."""
    found: dict[int, Holder] = {}
    for path in sorted(folder.glob("*.lock")):
        with suppress(OSError, ValueError):
            one = Holder.model_validate_json(path.read_bytes())
            if one.host != socket.gethostname() or Path("/proc", str(one.pid)).exists():
                found[one.pid] = one
    return list(found.values())


def _free_slot(gpus: Sequence[Gpu], slots: int, wait_s: float, folder: Path) -> tuple[Lease, int]:
    """A lease of a free slot and the descriptor that holds it: first slots first, so that GPUs fill evenly."""
    places = {gpu.uuid: _folder(folder, gpu) for gpu in gpus}
    until = time.monotonic() + wait_s
    while True:
        for slot in range(slots):
            for gpu in gpus:
                descriptor = _try_lock(places[gpu.uuid] / f"slot_{slot}.lock", fcntl.LOCK_EX)
                if descriptor is not None:
                    _sign(descriptor)
                    return Lease(gpu, slot, places[gpu.uuid]), descriptor
        if time.monotonic() > until:
            what = f"one of {slots} slots on {', '.join(gpu.uuid for gpu in gpus)}"
            raise GpuBusy(what, wait_s, [one for place in places.values() for one in holders(place)])
        time.sleep(POLL_S)


def _folder(root: Path, gpu: Gpu) -> Path:
    """The GPU's folder, which everybody on the machine may use."""
    place = root / gpu.uuid.replace("/", "_")
    for path in (root, place):
        with suppress(FileExistsError):
            path.mkdir(parents=True)
            path.chmod(0o1777)
    return place


def _try_lock(path: Path, mode: int) -> int | None:
    """A descriptor that holds the lock, or None when others have it."""
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _open(path: Path) -> int:
    """Open a lock's file; only who makes it says `O_CREAT`, which Linux refuses for files of others in /tmp.

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
    """Write into a lock's file who holds it."""
    command = " ".join(Path("/proc/self/cmdline").read_bytes().decode(errors="replace").split("\0")).strip()
    me = Holder(pid=os.getpid(), host=socket.gethostname(), command=command[:COMMAND_CHARS])
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(me.model_dump()).encode(), 0)
