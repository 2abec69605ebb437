"""Evaluate one round with 1, 2, 4 and 8 GPUs of a host: how much faster is it, and are the verdicts the same?

    python benchmarks/many_gpus.py [--problem matvec] [--gpus 1 2 4 8] [--samples 24] [--chunk 8] [--judge cuda]
                                   [--round-only] [--noise 20] [SETTING=VALUE ...]

The round's candidates come from `kopt-rewrite` (preset beam_search_diverse, `--samples` for each prompt).  They are
proposed and built first; then, for each number of GPUs, a copy of the run and of its store goes on to the end, so that
only judging differs.  What is printed comes from the log lines of the leases: candidates per second from the first
lease to the last GPU given back, speed-up and efficiency against the first number of GPUs, the share of that time in
which each GPU was leased, the longest wait for a GPU, and the chunks of each GPU; then what a chunk waited for, and a
contestant's phases, with each number of GPUs: where neighbours hinder each other.  Exits 1 when two jobs had one GPU at
once, or verdicts differ.

With `--noise` the seed kernel is timed against its twin on the first GPU, in so many batches, alone and while all other
GPUs multiply matrices and copy from the host: do busy neighbours disturb times?
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
STAMP = r"^(\S+ \S+) INFO \S+: (\S+) "
TAKEN = re.compile(STAMP + r"leased after ([\d.]+) s", re.M)
BACK = re.compile(STAMP + r"given back after", re.M)
WAITED = re.compile(r"seconds waited for: (\{.*\})")
PHASES = re.compile(r"slot \d+: \w+, seconds (\{.*\})")
LEAST_S = 0.1
"""Time from which a phase is printed, s."""
HEADS = ("GPUs", "whole s", "window s", "cand/s", "speed-up", "efficiency", "busy", "wait s", "chunks", "same verdicts")


NEIGHBOUR = """\
import torch
matrix = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
host = torch.empty(1 << 28, dtype=torch.uint8).pin_memory()
print("busy", flush=True)
while True:
    matrix @ matrix
    host.to("cuda", non_blocking=True)
    torch.cuda.synchronize()
"""
"""Program that keeps a GPU, and the way to it, busy."""
TWINS = """\
import os, sys
from pathlib import Path
from kopt.commands.parts.noise import noise_floor
from kopt.device.hardware.gpus import visible_gpus
from kopt.problem.folder import load
(gpu,) = visible_gpus(os.environ)
found = noise_floor(load(Path(sys.argv[1])), gpu.memory_bytes, batches=int(sys.argv[2]), launches=50)
print(f"1 inside {found.inside} of {found.batches} intervals, median noise {found.floor:.3%}, ratio off by at most "
      f"{found.worst:.3%}")
"""
"""Program that times a seed kernel against its twin."""


class Held(NamedTuple):
    """The lease of one evaluate job."""

    gpu: str
    start: float
    end: float
    """Both in seconds since the epoch."""
    wait: float
    """Time that the job waited for the GPU, s."""


class Evaluated(NamedTuple):
    """One round, evaluated with some GPUs."""

    gpus: int
    seconds: float
    """Time of the whole call of Snakemake, s."""
    leases: list[Held]
    verdicts: dict[int, str]
    """Verdict and reason by slot."""
    phases: dict[str, float]
    """Seconds of a chunk in its referee and timer, and of a contestant, by phase; means."""

    @property
    def window(self) -> float:
        """Time from the first lease to the last GPU given back, s."""
        return max(held.end for held in self.leases) - min(held.start for held in self.leases)

    @property
    def rate(self) -> float:
        """Candidates per second."""
        return len(self.verdicts) / self.window

    def overlaps(self) -> int:
        """Count the leases of a GPU that began before an earlier lease of it had ended."""
        last: dict[str, float] = {}
        count = 0
        for held in sorted(self.leases, key=lambda held: held.start):
            count += held.start < last.get(held.gpu, 0.0) - 0.001  # log lines have milliseconds
            last[held.gpu] = max(held.end, last.get(held.gpu, 0.0))
        return count

    def row(self, one: Evaluated) -> str:
        """Return the line of the table; `one` is the round that it is compared with."""
        speed = self.rate / one.rate
        busy = sum(held.end - held.start for held in self.leases) / self.window / self.gpus
        chunks = sorted(Counter(held.gpu for held in self.leases).values())
        values = [
            str(self.gpus), f"{self.seconds:.1f}", f"{self.window:.1f}", f"{self.rate:.2f}", f"{speed:.2f}",
            f"{speed * one.gpus / self.gpus:.1%}", f"{busy:.1%}", f"{max(held.wait for held in self.leases):.1f}",
            f"{chunks[0]}-{chunks[-1]}", f"{same(self, one)} of {len(self.verdicts)}",
        ]  # fmt: skip
        return line(values)


def same(these: Evaluated, those: Evaluated) -> int:
    """Count the slots with equal verdicts."""
    return sum(verdict == those.verdicts.get(slot) for slot, verdict in these.verdicts.items())


def line(values: Sequence[str]) -> str:
    """Lay out a line of the table."""
    return "  ".join(f"{value:>{max(len(head), 8)}}" for value, head in zip(values, HEADS, strict=True))


def snakemake(folder: Path, options: argparse.Namespace, gpus: int, *words: str) -> float:
    """Call Snakemake in a folder with the first GPUs of this host; return its duration, s."""
    settings = {
        "problem": options.problem, "preset": "beam_search_diverse", "models": "[kopt-rewrite]", "rounds": 1,
        "samples_per_prompt": options.samples, "chunk_size": options.chunk, "judge": options.judge, "run": "r",
        "max_repairs": 0, "baselines": "[eager]", "results": "results", "store": "store",
        **dict(setting.split("=", 1) for setting in options.settings),
    }  # fmt: skip
    visible = (os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(64)))).split(",")[:gpus]
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", folder,
        "--cores", str(os.cpu_count()), "--resources", f"gpu={gpus}", "--quiet", "all", *words,
        "--config", *(f"{name}={value}" for name, value in settings.items()),
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    since = time.perf_counter()
    done = subprocess.run(
        command, env=environment | {"CUDA_VISIBLE_DEVICES": ",".join(visible)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return time.perf_counter() - since


def evaluated(prepared: Path, folder: Path, options: argparse.Namespace, gpus: int) -> Evaluated:
    """Judge a copy of the prepared round with some GPUs."""
    subprocess.run(["cp", "-a", prepared, folder], check=True)
    seconds = snakemake(folder, options, gpus, *(["--until", "evaluate"] if options.round_only else []))
    run = folder / "results/r"
    logs = sorted((run / "logs/round_1").glob("evaluate_*.log"))
    leases = [held for path in logs for held in held_in(path)]
    tables = [pd.read_parquet(path) for path in sorted((run / "round_1").rglob("evaluation_*.parquet"))]
    rows = pd.concat(tables).to_dict("records")
    verdicts = {row["slot"]: f"{row['verdict']} {row['reason']}" for row in rows}
    return Evaluated(gpus, seconds, leases, verdicts, phases_in(path.read_text() for path in logs))


def phases_in(logs: Iterable[str]) -> dict[str, float]:
    """Read what chunks and contestants spent their time on; return means, s."""
    text = "\n".join(logs)
    found: dict[str, list[float]] = {}
    for pattern, owner in ((WAITED, ""), (PHASES, "a contestant: ")):
        for account in map(ast.literal_eval, pattern.findall(text)):
            for name, seconds in account.items():
                found.setdefault(owner + name, []).append(seconds)
    return {name: sum(several) / len(several) for name, several in found.items()}


def print_phases(rounds: Sequence[Evaluated]) -> None:
    """Print a line for each phase that takes some time, with each number of GPUs."""
    print("mean seconds with " + ", ".join(f"{round.gpus}" for round in rounds) + " GPUs")
    for name in rounds[0].phases:
        means = [round.phases.get(name, 0.0) for round in rounds]
        if max(means) >= LEAST_S:
            print(f"  {name:32} " + "  ".join(f"{mean:6.2f}" for mean in means))


def held_in(log: Path) -> list[Held]:
    """Read the leases of a job's log."""
    text = log.read_text()
    pairs = zip(TAKEN.finditer(text), BACK.finditer(text), strict=True)
    return [Held(taken[2], seconds_of(taken[1]), seconds_of(back[1]), float(taken[3])) for taken, back in pairs]


def seconds_of(stamp: str) -> float:
    """Return the seconds since the epoch of a log line's time."""
    return datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S,%f").timestamp()


def print_noise(options: argparse.Namespace) -> None:
    """Time the seed kernel against its twin on the first GPU, alone and beside busy neighbours."""
    visible = (os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(max(options.gpus))))).split(",")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    problem = ROOT / "config" / "problems" / options.problem
    for count in sorted({0, len(visible) - 1}):
        busy = [
            subprocess.Popen(
                [sys.executable, "-c", NEIGHBOUR], env=environment | {"CUDA_VISIBLE_DEVICES": gpu},
                stdout=subprocess.PIPE, text=True,
            )
            for gpu in visible[1 : 1 + count]
        ]  # fmt: skip
        try:
            for process in busy:
                assert process.stdout is not None
                process.stdout.readline()
            done = subprocess.run(
                [sys.executable, "-c", TWINS, problem, str(options.noise)], capture_output=True, text=True, check=False,
                env=environment | {"CUDA_VISIBLE_DEVICES": visible[0]},
            )  # fmt: skip
        finally:
            for process in busy:
                process.kill()
        said = done.stdout.strip() or done.stderr.strip()[-400:]
        print(f"A/A of {options.problem} with {count} busy neighbours: {said}", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--problem", default="matvec")
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--samples", type=int, default=24, help="slots of each prompt; a round has fifteen prompts")
    parser.add_argument("--chunk", type=int, default=8, help="kernels of an evaluate job")
    parser.add_argument("--judge", default="cuda", choices=["cuda", "dry_gpu"])
    parser.add_argument("--round-only", action="store_true", help="end each search when the round is evaluated")
    parser.add_argument("--json", type=Path, help="file to write all leases to")
    parser.add_argument("--noise", type=int, default=0, metavar="N", help="batches of the seed kernel and its twin")
    parser.add_argument("settings", nargs="*", metavar="SETTING=VALUE", help="further settings of the run")
    options = parser.parse_args()
    if options.noise:
        print_noise(options)
    with tempfile.TemporaryDirectory(prefix="kopt-many-gpus-") as name:
        prepared = Path(name, "prepared")
        prepared.mkdir()
        seconds = snakemake(prepared, options, max(options.gpus), "--until", "compile")
        print(f"{options.problem}: proposed and built in {seconds:.1f} s, {os.cpu_count()} cores", flush=True)
        print(line(HEADS))
        rounds: list[Evaluated] = []
        for gpus in options.gpus:
            folder = Path(name, str(gpus))
            rounds.append(evaluated(prepared, folder, options, gpus))
            shutil.rmtree(folder)
            print(rounds[-1].row(rounds[0]), flush=True)
    print_phases(rounds)
    if options.json:
        options.json.write_text(json.dumps([round._asdict() for round in rounds], indent=1))
    overlaps = sum(round.overlaps() for round in rounds)
    print(f"{overlaps} leases of a GPU that was leased already")
    sys.exit(overlaps > 0 or any(same(round, rounds[0]) != len(round.verdicts) for round in rounds))


if __name__ == "__main__":
    main()
