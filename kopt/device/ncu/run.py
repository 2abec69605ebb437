"""Run Nsight Compute on a program that waits for its turn, and end both."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import TracebackType

from kopt.device.ncu.csv import METRICS
from kopt.device.ncu.job import GPU, PREPARED, READY, TURN, ProfileJob
from kopt.device.ncu.outcome import Counted, NotCounted, outcome
from kopt.sandbox.cage import KEPT_VARIABLES, die_with_parent
from kopt.sandbox.environment import GPU_VARIABLE
from kopt.sandbox.processes import kill_all, wait_for_end

PLACES = ("/usr/local/cuda/bin/ncu", "/opt/nvidia/nsight-compute")
"""The program, and the folder of installations, to look at when `ncu` is not on the PATH."""

TAIL_CHARS = 4000
"""Characters of the output's end that explain a failure."""


def find_ncu() -> Path | None:
    """Find the program `ncu`: on the PATH, in the CUDA toolkit, or in the newest Nsight Compute; else None."""
    on_path = shutil.which("ncu")
    if on_path:
        return Path(on_path)
    in_cuda, installations = map(Path, PLACES)
    candidates = [in_cuda, *sorted(installations.glob("*/ncu"), reverse=True)]
    return next((path for path in candidates if os.access(path, os.X_OK)), None)


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


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""
