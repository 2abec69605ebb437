"""Where the time of a search goes: rule by rule seconds, CPU seconds, and how much of them is start-up.

    python benchmarks/search_time.py [--warm true|false] [SETTING=VALUE ...]

Runs a search of two rounds with the embedded proposer, in a folder of its own, and prints a line for each script: how
often it ran, and the sums of its jobs.  Start-up is what a job spends in imports.  A job that is forked from a warm
parent counts from its fork on; what the parents took, imports above all, is a line of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SEARCH = (
    "problem=softmax", "rounds=2", "models=[kopt-rewrite]", "candidate_pool_size=2", "num_bottlenecks=2",
    "samples_per_prompt=2", "run=t",
)  # fmt: skip


def search(folder: Path, settings: Iterable[str]) -> float:
    """Run a search whose jobs record their times in the folder `times`; return its seconds."""
    times = folder / "times"
    times.mkdir()
    path = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks" / "job_times")])
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", folder, "--cores", "2",
        "--config", *SEARCH, f"store={folder}/store", *settings,
    ]  # fmt: skip
    begun = time.perf_counter()
    done = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": path, "PYTHON_JOB_TIMES": str(times)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return time.perf_counter() - begun


def table(records: Iterable[Mapping[str, object]]) -> list[str]:
    """Write the lines of the table: sums by script, the longest first."""
    sums: dict[str, list[float]] = {}
    for record in records:
        row = sums.setdefault(str(record["script"]), [0.0] * 5)
        for place, name in enumerate(("wall", "import_wall", "cpu", "import_cpu")):
            row[place + 1] += float(str(record[name]))
        row[0] += 1
    total = [sum(column) for column in zip(*sums.values(), strict=True)]
    ordered = sorted(sums.items(), key=lambda item: -item[1][1])
    head = f"{'script':<12} {'jobs':>5} {'s':>7} {'start-up':>9} {'CPU s':>7} {'start-up':>9}"
    return [head, *(_line(name, row) for name, row in [*ordered, ("all", total)])]


def _line(name: str, row: list[float]) -> str:
    jobs, wall, import_wall, cpu, import_cpu = row
    return f"{name:<12} {jobs:>5.0f} {wall:>7.1f} {import_wall:>9.1f} {cpu:>7.1f} {import_cpu:>9.1f}"


def main() -> None:
    """Run the search and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--warm", choices=["true", "false"], default="true", help="fork jobs from warm parents")
    parser.add_argument("settings", nargs="*", metavar="SETTING=VALUE", help="settings of the search, e.g. judge=cuda")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kopt-search-time-") as name:
        seconds = search(Path(name), [f"warm={args.warm}", *args.settings])
        records = [json.loads(path.read_text()) for path in (Path(name) / "times").glob("*.json")]
    print("\n".join(table(records)))
    print(f"the whole search, Snakemake included: {seconds:.1f} s")


if __name__ == "__main__":
    main()
