"""Overhead of the DAG: everything but the items, with a trivial proposer and judge (`models=[kopt-echo] judge=dry`).

    python benchmarks/orchestration.py [--quick]

Prints, per number of slots and rounds, the seconds of a whole run and of a second, identical call that finds nothing to
do.  225 slots x 8 rounds is the largest preset; the other rows show how both grow.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
QUICK = [(5, 2), (45, 2)]
FULL = [(5, 2), (45, 2), (225, 2), (225, 4), (225, 8)]


def snakemake(folder: Path, slots: int, rounds: int) -> tuple[float, str]:
    """One call; returns its seconds and its output."""
    fan_out = {5: (5, 1, 1), 45: (5, 3, 3), 225: (5, 3, 15)}[slots]
    pool, bottlenecks, samples = fan_out
    settings = {
        "problem": "matvec", "run": f"s{slots}r{rounds}", "rounds": rounds, "models": "[kopt-echo]", "judge": "dry",
        "candidate_pool_size": pool, "num_bottlenecks": bottlenecks, "samples_per_prompt": samples,
        "stop": f"{{patience: {rounds + 1}}}", "results": folder / "results", "store": folder / "store",
    }  # fmt: skip
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", folder, "--cores", "2",
        "--quiet", "progress", "rules", "--config", *(f"{name}={value}" for name, value in settings.items()),
    ]  # fmt: skip
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "120"})
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return seconds, done.stdout + done.stderr


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes only")
    sizes = QUICK if parser.parse_args().quick else FULL
    print(f"{'slots':>6} {'rounds':>6} {'run s':>8} {'s/round':>8} {'again s':>8}")
    for slots, rounds in sizes:
        with tempfile.TemporaryDirectory(prefix="kopt-orchestration-") as name:
            run, _ = snakemake(Path(name), slots, rounds)
            again, output = snakemake(Path(name), slots, rounds)
            assert "nothing to do" in output, output
        print(f"{slots:>6} {rounds:>6} {run:>8.1f} {run / rounds:>8.2f} {again:>8.1f}", flush=True)


if __name__ == "__main__":
    main()
