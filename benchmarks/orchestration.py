"""Overhead of the DAG: everything but the items, with a trivial proposer and judge (`models=[kopt-echo] judge=dry`).

    python benchmarks/orchestration.py [--quick | --large]

Prints, per number of slots and rounds, seconds and CPU seconds of a whole run, and the seconds of a second, identical
call that finds nothing to do.  225 slots x 8 rounds is the largest preset; the other rows show how both grow.  With
`--large` it runs 90 x 8 and 225 x 8 slots with the rewriter as proposer and clustering, and prints the memory of the
largest process and the size of the store.  CPU seconds are those of Snakemake, its jobs and their warm parents; on a
machine that does other work they say more than seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
QUICK = [(5, 2), (45, 2)]
FULL = [(5, 2), (45, 2), (225, 2), (225, 4), (225, 8)]
LARGE = [(90, 8), (225, 8)]
FAN_OUT = {5: (5, 1, 1), 45: (5, 3, 3), 90: (5, 3, 6), 225: (5, 3, 15)}
"""Parents, bottlenecks and samples by slots."""
WIDTHS = (6, 7, 9, 9, 9, 10, 8, 12)
"""Characters of the columns."""


class Call(NamedTuple):
    """Time, CPU time and output of one call of Snakemake."""

    seconds: float
    cpu: float
    """CPU seconds of Snakemake and its jobs."""
    output: str


def snakemake(folder: Path, slots: int, rounds: int, *settings: str) -> Call:
    """Call Snakemake once."""
    pool, bottlenecks, samples = FAN_OUT[slots]
    own = {
        "problem": "matvec", "run": f"s{slots}r{rounds}", "rounds": rounds, "judge": "dry",
        "warm": "true", "candidate_pool_size": pool, "num_bottlenecks": bottlenecks, "samples_per_prompt": samples,
        "stop": f"{{patience: {rounds + 1}}}", "results": folder / "results", "store": folder / "store",
    }  # fmt: skip
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", folder, "--cores", "2",
        "--quiet", "progress", "rules", "--config", *(f"{name}={value}" for name, value in own.items()), *settings,
    ]  # fmt: skip
    started, before = time.perf_counter(), _cpu()
    path = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks" / "job_times")])
    with tempfile.TemporaryDirectory(prefix="kopt-times-") as times:
        environment = os.environ | {"COLUMNS": "120", "PYTHONPATH": path, "PYTHON_JOB_TIMES": times}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        records = [json.loads(file.read_text()) for file in Path(times).iterdir()]
        forked = sum(record["cpu"] for record in records if record["forked"])  # no children of Snakemake
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return Call(time.perf_counter() - started, _cpu() - before + forked, done.stdout + done.stderr)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def overhead(slots: int, rounds: int) -> str:
    """Run a DAG of trivial items twice; return a line of the table."""
    with tempfile.TemporaryDirectory(prefix="kopt-orchestration-") as name:
        run = snakemake(Path(name), slots, rounds, "models=[kopt-echo]")
        again = snakemake(Path(name), slots, rounds, "models=[kopt-echo]")
        assert "nothing to do" in again.output, again.output
    return (
        f"{slots:>6} {rounds:>6} {run.seconds:>8.1f} {run.cpu:>8.1f} {run.seconds / rounds:>8.2f} {again.seconds:>8.1f}"
    )


def large(slots: int, rounds: int) -> str:
    """Run a whole search by the rewriter; return a line of the table."""
    with tempfile.TemporaryDirectory(prefix="kopt-orchestration-") as name:
        clustering = "technique_clustering={enabled: true}"
        run = snakemake(Path(name), slots, rounds, "models=[kopt-rewrite]", clustering)
        assert f"R{rounds}: {slots}/{slots} ok" in run.output, run.output
        files = [path for path in (Path(name) / "store").rglob("*") if path.is_file()]
        store = sum(path.stat().st_size for path in files) / 1e6
        results = sum(path.stat().st_size for path in (Path(name) / "results").rglob("*") if path.is_file()) / 1e6
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return (
        f"{slots:>6} {rounds:>6} {run.seconds:>8.1f} {run.cpu:>8.1f} {memory:>8.0f} {store:>9.1f} {len(files):>7} "
        f"{results:>11.1f}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--quick", action="store_true", help="small sizes only")
    sizes.add_argument("--large", action="store_true", help="whole searches by the rewriter")
    options = parser.parse_args()
    heads = ["slots", "rounds", "run s", "CPU s"]
    heads += ["MiB", "store MB", "files", "results MB"] if options.large else ["s/round", "again s"]
    print("".join(f"{head:>{width}}" for head, width in zip(heads, WIDTHS, strict=False)))
    for slots, rounds in LARGE if options.large else QUICK if options.quick else FULL:
        print(large(slots, rounds) if options.large else overhead(slots, rounds), flush=True)
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
