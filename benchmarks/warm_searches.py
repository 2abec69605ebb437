"""Does a job ever die of its warm parent?  Many searches, two at a time, that end each other's parents.

    python benchmarks/warm_searches.py [--searches 30] [--at-once 2] [SETTING=VALUE ...]

The searches share a checkout and an environment, and so their warm parents.  A search that ends also ends the parents
that have no job at that moment, which is when a job of another search may lose the parent that it has just asked.
Every search has a store of its own and must end with the same selections.  Prints a line for each search, then how many
jobs there were, how many of them were forked from a parent, and how many died; exits 1 where one died.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from search_time import SEARCH, contents

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = ("judge=interpret", "rounds=1", "warm=true")


class Ended(NamedTuple):
    """How a search ended."""

    status: int
    seconds: float
    died: int
    """Jobs that Snakemake saw fail."""
    selections: list[list[str]]
    output: str


def search(folder: Path, times: Path, settings: Sequence[str]) -> Ended:
    """Run a search in a folder of its own, whose jobs record themselves in the folder `times`."""
    folder.mkdir()
    path = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks" / "job_times")])
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", folder, "--cores", "2",
        "--logger-kopt-full", "--config", *SEARCH, f"store={folder}/store", *SETTINGS, *settings,
    ]  # fmt: skip
    since = time.perf_counter()
    environ = os.environ | {"PYTHONPATH": path, "PYTHON_JOB_TIMES": str(times)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    seconds, output = time.perf_counter() - since, done.stdout + done.stderr
    selections = [] if done.returncode else contents(folder / "results" / "t")[1]
    return Ended(done.returncode, seconds, output.count("Error in rule"), selections, output)


def main() -> int:
    """Run the searches and print what became of their jobs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", type=int, default=30)
    parser.add_argument("--at-once", type=int, default=2, help="searches at a time")
    parser.add_argument("settings", nargs="*", metavar="SETTING=VALUE", help="settings of the searches")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kopt-warm-searches-") as root, ThreadPoolExecutor(args.at_once) as pool:
        times = Path(root) / "times"
        times.mkdir()
        runs = [pool.submit(search, Path(root) / str(n), times, args.settings) for n in range(args.searches)]
        ends = []
        for number, run in enumerate(runs):
            ends.append(ended := run.result())
            same = "the same" if ended.selections == ends[0].selections else "ANOTHER"
            said = f"\n{ended.output[-3000:]}" * bool(ended.status)
            print(f"search {number:>2}: status {ended.status}, {ended.seconds:5.1f} s, {ended.died} jobs died, "
                  f"selections {same}{said}", flush=True)  # fmt: skip
        records = [json.loads(path.read_text()) for path in times.glob("*.json")]
    parents = sum(record["script"] == "(parents)" for record in records)
    jobs = [record for record in records if record["script"] not in ("(parents)", "start")]
    alone = sorted(job["script"] for job in jobs if not job["forked"])
    died, failed = sum(ended.died for ended in ends), sum(ended.status != 0 for ended in ends)
    print(f"{len(ends)} searches, {failed} failed; {len(jobs)} jobs, {died} died; {len(jobs) - len(alone)} were forked "
          f"from {parents} parents, {len(alone)} ran by themselves {alone or ''}")  # fmt: skip
    return 1 if died or failed or any(ended.selections != ends[0].selections for ended in ends) else 0


if __name__ == "__main__":
    sys.exit(main())
