"""Read hardware counters of a kernel by Nsight Compute (`ncu`), and make a profile of them.

Only the last call of the entry point is profiled, with all its launches; launches of compilation and autotuning before
are left out.  Clocks are not locked.  A machine without `ncu`, or without the right to read counters (common), is an
outcome and not an error: static facts take the place of the counters.

A profile steers the search; verdicts and times do not depend on it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Literal

from pydantic import ConfigDict

from kopt.device.build.precompiled import Precompiled
from kopt.device.ncu.csv import METRICS, TIME, LaunchCounters, NotCounters, parse, together
from kopt.device.reference.rejection import bounded
from kopt.model.base import Value
from kopt.model.device import Device
from kopt.model.diagnosis import Bound, Profile
from kopt.model.kernel import Kernel
from kopt.model.problem import Dtype, Problem, Workload, WorkloadFacts
from kopt.roofline import LATENCY_SHARE, floor_ms
from kopt.sandbox.cage import KEPT_VARIABLES, die_with_parent
from kopt.sandbox.environment import GPU_VARIABLE
from kopt.sandbox.processes import kill_all, wait_for_end

WAIT_S = 180.0
"""Longest run of Nsight Compute, s; 10-16 s are usual."""

PLACES = ("/usr/local/cuda/bin/ncu", "/opt/nvidia/nsight-compute")
"""The program, and the folder of installations, to look at when `ncu` is not on the PATH."""

TAIL_CHARS = 4000
"""Characters of the output's end that explain a failure."""

TORCH_KERNELS = ("FillFunctor", "copy_kernel", "CatArrayBatchedCopy", "arange")
"""Parts of the names of torch's kernels that fill, copy and cast, which a candidate may use."""

GPU = "gpu"
"""Name of the file, beside a job's, for which the program waits before it makes inputs on the GPU that it names."""
TURN = "turn"
"""Name of the file for which the program, with its inputs made, waits before it loads the candidate."""
READY = "ready"
"""Name of the file beside a job's that the program makes when all is done that it can do without a GPU."""
PREPARED = "prepared"
"""Name of the file that the program makes when its inputs are made."""
READY_S = 60.0
"""Longest wait for a program to be ready, s: one that takes longer gets its turn without."""
AHEAD = 2
"""Programs that have started and not ended, at most."""
POLL_S = 0.005
"""Time between two looks at whether programs are ready, s."""

Cause = Literal["no ncu", "no permission", "timeout", "no launch", "failed"]


class ProfileJob(Value):
    """A kernel and a workload to profile."""

    kernel: Kernel
    problem: Problem
    workload: Workload
    seed: int = 0
    """Seed of the inputs."""
    compiled: tuple[Precompiled, ...] = ()
    """Kernels that the CPU stage compiled, which are loaded and not compiled again."""
    signatures: tuple[tuple[str, ...], ...] = ()
    """Types of the arguments of launches, in order: Triton 3.6 compiles a launcher for each."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")


class Counted(Value):
    """The counters of every launch of one call."""

    launches: tuple[LaunchCounters, ...]
    csv: str
    """Nsight Compute's own table."""

    @property
    def metrics(self) -> dict[str, float | None]:
        """The counters of all launches together."""
        return together(self.launches)


class NotCounted(Value):
    """Why there are no counters."""

    cause: Cause
    detail: str = ""

    @property
    def note(self) -> str:
        """Text for the profile's notes."""
        return _NOTES[self.cause] + (f": {self.detail.splitlines()[-1][:200]}" if self.detail else "")

    @property
    def lasting(self) -> bool:
        """Whether the cause is the same for every kernel on this machine."""
        return self.cause in ("no ncu", "no permission")


_NOTES: dict[Cause, str] = {
    "no ncu": "Nsight Compute (ncu) is not installed",
    "no permission": "this user may not read hardware counters (ERR_NVGPUCTRPERM)",
    "timeout": "Nsight Compute did not end in time",
    "no launch": "Nsight Compute saw no launch",
    "failed": "Nsight Compute or the kernel under it failed",
}


def find_ncu() -> Path | None:
    """Find the program `ncu`: on the PATH, in the CUDA toolkit, or in the newest Nsight Compute; else None."""
    on_path = shutil.which("ncu")
    if on_path:
        return Path(on_path)
    in_cuda, installations = map(Path, PLACES)
    candidates = [in_cuda, *sorted(installations.glob("*/ncu"), reverse=True)]
    return next((path for path in candidates if os.access(path, os.X_OK)), None)


def count(job: ProfileJob, *, ncu: Path | None = None, wait_s: float = WAIT_S) -> Counted | NotCounted:
    """Profile one call of a kernel on the visible GPU, which no other process should use meanwhile.

    Args:
        job: kernel, problem, workload.
        ncu: the program; by default that of `find_ncu`.
        wait_s: limit, s.
    """
    with Counting([job], ncu=ncu) as counting:
        (counted,) = counting.each(wait_s)
    return counted


class Counting:
    """Profile one call of each kernel like `count`, one kernel after the other; a context manager.

    A program takes longer to start than to profile, and does not use a GPU before its turn.  So the first programs
    start as the block is entered, before a GPU need be held, and the next ones while others are profiled.
    """

    def __init__(self, jobs: Sequence[ProfileJob], *, ncu: Path | None = None) -> None:
        """Take the jobs.

        Args:
            jobs: kernels, problems, workloads.
            ncu: the program; by default that of `find_ncu`.
        """
        self._waiting = list(jobs)
        self._ncu = ncu or find_ncu()
        self._runs: deque[Run] = deque()
        self._started = ExitStack()

    def __enter__(self) -> Counting:
        try:
            self._start(AHEAD)
        except BaseException:
            self._started.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._started.close()

    def wait(self) -> None:
        """Wait until the programs that have started need a GPU to go on, or have ended, so that none is held before."""
        _wait_until(lambda: all(run.is_ready() for run in self._runs), READY_S)

    def prepare(self, wait_s: float = WAIT_S) -> None:
        """Let the programs that are ready make contexts and inputs on the GPU that this process sees, side by side.

        Nothing is counted meanwhile, no candidate's code runs, and then all wait for their turns.

        Args:
            wait_s: limit, s.
        """
        ready = [run for run in self._runs if run.is_ready()]
        for run in ready:
            run.lend()
        _wait_until(lambda: all(run.is_prepared() for run in ready), wait_s)

    def each(self, wait_s: float = WAIT_S) -> Iterator[Counted | NotCounted]:
        """Yield the outcomes in order, while no other process should use the GPU that this process sees.

        Args:
            wait_s: limit of each, s.
        """
        if self._ncu is None:
            yield from [NotCounted(cause="no ncu")] * len(self._waiting)
        while self._runs:
            run = self._runs.popleft()
            self._start(AHEAD - 1)
            yield run.counted(wait_s)

    def _start(self, most: int) -> None:
        """Start programs, until so many wait for their turn."""
        while self._ncu is not None and self._waiting and len(self._runs) < most:
            self._runs.append(self._started.enter_context(Run(self._waiting.pop(0), self._ncu)))


class Run:
    """One run of Nsight Compute, whose program starts at once and waits for its turn before it uses the GPU."""

    def __init__(self, job: ProfileJob, ncu: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="kopt-ncu-")
        root = Path(self._folder.name).resolve()
        self._root, self._log, self._output = root, root / "ncu.csv", root / "output"
        scratch = root / "scratch"
        scratch.mkdir()
        (root / "job.json").write_text(job.model_dump_json())
        program = [sys.executable, "-m", "kopt.device.ncu.target", str(root / "job.json")]
        with self._output.open("wb") as sink:
            self._process = subprocess.Popen(
                command(ncu, self._log, program), env=environment(scratch), cwd=scratch, stdin=subprocess.DEVNULL,
                stdout=sink, stderr=subprocess.STDOUT, start_new_session=True,
                preexec_fn=partial(die_with_parent, os.getpid()),
            )  # fmt: skip
        self._pidfd, self._ended = os.pidfd_open(self._process.pid), False

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._end()
        self._folder.cleanup()

    def is_ready(self) -> bool:
        """Return whether the program waits for a GPU, or has ended."""
        return self._has_made(READY)

    def is_prepared(self) -> bool:
        """Return whether the program has made its inputs, or has ended."""
        return self._has_made(PREPARED)

    def lend(self) -> None:
        """Let the program make its inputs on the GPU that this process sees."""
        self._put(GPU, json.dumps(os.environ.get(GPU_VARIABLE)))

    def counted(self, wait_s: float) -> Counted | NotCounted:
        """Let the program use the GPU that this process sees, and wait for its end, `wait_s` seconds at the longest."""
        self.lend()
        self._put(TURN, "")
        try:
            ended = wait_for_end(self._pidfd, wait_s)
        finally:
            self._end()
        return outcome(self._process.returncode if ended else None, _text(self._log), _text(self._output)[-TAIL_CHARS:])

    def _put(self, name: str, text: str) -> None:
        """Make a file that the program waits for, with its text at once."""
        new = self._root / f"{name}.new"
        new.write_text(text)
        new.rename(self._root / name)

    def _has_made(self, name: str) -> bool:
        return (self._root / name).exists() or wait_for_end(self._pidfd, 0.0)

    def _end(self) -> None:
        """Kill all processes of the run, once: afterwards its pid may be another process's."""
        if not self._ended:
            kill_all(self._process.pid)
            self._process.wait()
            os.close(self._pidfd)
            self._ended = True


def _wait_until(is_so: Callable[[], bool], wait_s: float) -> None:
    until = time.monotonic() + wait_s
    while not is_so() and time.monotonic() < until:
        time.sleep(POLL_S)


def command(ncu: Path, log: Path, program: Sequence[str], metrics: Sequence[str] = METRICS) -> list[str]:
    """Make the command line that profiles a program between its calls of start and stop of the profiler.

    Args:
        ncu: Nsight Compute.
        log: file that the table (CSV) is written to; the program must not be able to write it, so that it cannot forge
            counters.
        program: command line of the program.
        metrics: to count.
    """
    return [
        str(ncu), "--csv", "--page", "raw", "--print-units", "base", "--log-file", str(log),
        "--clock-control", "none", "--profile-from-start", "off", "--target-processes", "application-only",
        "--metrics", ",".join(metrics), *program,
    ]  # fmt: skip


def environment(scratch: Path) -> dict[str, str]:
    """Make the environment of Nsight Compute and of the candidate, without secrets."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    for name in ("HOME", "TMPDIR", "TRITON_CACHE_DIR"):
        kept[name] = str(scratch)
    return kept | {"LC_ALL": "C", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def outcome(status: int | None, log: str, output: str) -> Counted | NotCounted:
    """Make an outcome of a run of Nsight Compute.

    Args:
        status: exit status; None when the run was killed at its limit.
        log: text of the log file: table and messages.
        output: the end of the output of `ncu` and the program.
    """
    if status is None:
        return NotCounted(cause="timeout", detail=bounded(output))
    if "ERR_NVGPUCTRPERM" in log:
        return NotCounted(cause="no permission")
    try:
        launches = parse(log)
    except NotCounters:
        if status == 0:
            return NotCounted(cause="no launch", detail=bounded(log))
        return NotCounted(cause="failed", detail=bounded(f"{_messages(log)}\n{output}"))
    measured = [launch for launch in launches if launch.metrics[TIME]]
    if not measured:
        return NotCounted(cause="failed", detail=bounded(f"{_messages(log)}\n{output}"))
    return Counted(launches=tuple(measured), csv=log)


def counters_profile(
    counted: Counted, static: Profile, workload: WorkloadFacts, device: Device, dtype: Dtype
) -> Profile:
    """Make a profile of counters, as shares of the device's *measured* rates, on top of a static profile.

    Args:
        counted: the counters.
        static: the profile without counters (build, instruction mix, time), whose metrics are kept.
        workload: facts of the workload that was profiled.
        device: rates measured, or described.
        dtype: the problem's.
    """
    metrics = counted.metrics
    ms = (metrics[TIME] or 0.0) / 1e6
    moved = _sum(metrics["dram__bytes_read.sum"], metrics["dram__bytes_write.sum"])
    memory = moved / ms / 1e6 / device.copy_gb_s if moved is not None else None
    shares = {"dram_share": memory, "ncu_time_ms": ms, "launches": float(len(counted.launches))}
    return Profile(
        kind="counters",
        bound=_bound(metrics, memory),
        roofline_share=min(floor_ms(workload, device, dtype) / ms, 1.0),
        metrics=static.metrics | metrics | shares,
        notes=(f"hardware counters of {len(counted.launches)} launches, workload {workload.workload}",),
    )


def foreign_kernels(counted: Counted, built: Collection[str]) -> tuple[str, ...]:
    """Name the kernels that ran and are neither of the build nor fills, copies and casts of torch.

    A candidate can hide a library's kernel from the tracer, but not from the profiler, which is out of its reach.

    Args:
        counted: counters of all launches.
        built: names of the build's kernels.
    """
    names = dict.fromkeys(launch.kernel for launch in counted.launches)
    return tuple(name for name in names if name not in built and not any(part in name for part in TORCH_KERNELS))


def _bound(metrics: dict[str, float | None], memory: float | None) -> Bound:
    """Return the busiest unit, or latency when none is busy."""
    percent = {
        "memory": ("lts__throughput.avg.pct_of_peak_sustained_active",),
        "compute": (
            "sm__throughput.avg.pct_of_peak_sustained_elapsed",
            "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_elapsed",
        ),
    }
    busy = {kind: max((metrics[name] or 0.0) / 100 for name in names) for kind, names in percent.items()}
    most = max(busy["memory"], memory or 0.0)
    if max(most, busy["compute"]) < LATENCY_SHARE:
        return "latency"
    return "memory" if most >= busy["compute"] else "compute"


def _sum(read: float | None, written: float | None) -> float | None:
    return None if read is None or written is None else read + written


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def _messages(log: str) -> str:
    return "\n".join(line for line in log.splitlines() if line.startswith("=="))
