"""Where the time of a search goes: rule by rule seconds, CPU seconds, how much of them is start-up, and milestones.

    python benchmarks/search_time.py [--warm true|false|both] [--pairs N] [--cores all] [--seconds 3600]
                                     [SETTING=VALUE ...]

Runs a search of two rounds with the embedded proposer, in a folder of its own, and prints a line for each script: how
often it ran, and the sums of its jobs.  Start-up is what a job spends in imports.  A job that is forked from a warm
parent counts from its fork on; what the parents took, imports above all, is a line of its own.

With `--warm both` searches with and without warm parents take turns, and their verdicts and selections are compared:
all that does not follow from measured times must be equal.  A search that `--seconds` cuts off has a table of the jobs
that had ended.  Where there is a GPU, the share of samples in which it
computes is printed, and whether a warm parent has opened it, which no parent may.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from kopt.artifact import read_table
from kopt.device.hardware.gpus import visible_gpus
from kopt.model.trial import EvaluationRow, SelectionRow

ROOT = Path(__file__).resolve().parent.parent
SEARCH = (
    "problem=softmax", "rounds=2", "models=[kopt-rewrite]", "candidate_pool_size=2", "num_bottlenecks=2",
    "samples_per_prompt=2", "run=t",
)  # fmt: skip
SAMPLE_S = 0.1
"""Time between two looks at the GPU and at the warm parents, s."""


class Watch(threading.Thread):
    """Look at the first GPU and at all warm parents while a search runs."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self.busy: list[bool] = []
        """For each look whether the GPU has computed since the look before."""
        self.parents: dict[int, set[str]] = {}
        """GPU files that warm parents have open, by pid."""

    def run(self) -> None:
        """Look until the search has ended."""
        utilisation = _utilisation()
        while not self.ended.wait(SAMPLE_S):
            if utilisation is not None:
                self.busy.append(utilisation() > 0)
            for pid in _warm_parents():
                self.parents.setdefault(pid, set()).update(_gpu_files(pid))

    def lines(self) -> list[str]:
        """Say what was seen."""
        opened = {pid: files for pid, files in self.parents.items() if files}
        lines = [
            f"{len(self.parents)} warm parents, {len(opened)} of them with a GPU open{f': {opened}' * bool(opened)}"
        ]
        if self.busy:
            lines.append(f"the GPU computed in {sum(self.busy) / len(self.busy):.0%} of {len(self.busy)} samples")
        return lines


def _utilisation():
    """Return the function that reads how busy the first GPU is, percent; None without a GPU."""
    import pynvml

    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    except pynvml.NVMLError:
        return None
    return lambda: pynvml.nvmlDeviceGetUtilizationRates(handle).gpu


def _warm_parents() -> list[int]:
    pids = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        with suppress(OSError):
            if path.read_text().strip() == "kopt-warm":
                pids.append(int(path.parent.name))
    return pids


def _gpu_files(pid: int) -> set[str]:
    files = set()
    with suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                files |= {file for file in [os.readlink(link)] if file.startswith("/dev/nvidia")}
    return files


def search(folder: Path, settings: Iterable[str], cores: str, limit_s: float) -> tuple[float, float]:
    """Run a search whose jobs record their times in the folder `times`; return its seconds, and when it began.

    Args:
        folder: folder of the run.
        settings: settings of the search.
        cores: cores of Snakemake.
        limit_s: time after which the search is cut off, s.
    """
    times = folder / "times"
    times.mkdir()
    before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    path = os.pathsep.join(filter(None, [str(ROOT), str(ROOT / "benchmarks" / "job_times"), *before]))
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", folder, "--cores", cores,
        "--resources", f"gpu={max(1, len(visible_gpus(os.environ)))}", "--config", *SEARCH, f"store={folder}/store",
        *settings,
    ]  # fmt: skip
    begun, since = time.perf_counter(), time.time()
    process = subprocess.Popen(
        list(map(str, command)),
        env=os.environ | {"PYTHONPATH": path, "PYTHON_JOB_TIMES": str(times)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        printed, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate()
        print(f"cut off after {limit_s:g} s")
    else:
        if process.returncode:
            sys.exit(printed)
    return time.perf_counter() - begun, since


def table(records: Iterable[Mapping[str, object]]) -> list[str]:
    """Write the lines of the table: sums by script, the longest first."""
    sums: dict[str, list[float]] = {}
    for record in records:
        row = sums.setdefault(str(record["script"]), [0.0] * 5)
        for place, name in enumerate(("wall", "import_wall", "cpu", "import_cpu")):
            row[place + 1] += float(str(record[name]))
        row[0] += 1
    if not sums:
        return ["no job has ended"]
    total = [sum(column) for column in zip(*sums.values(), strict=True)]
    ordered = sorted(sums.items(), key=lambda item: -item[1][1])
    head = f"{'script':<12} {'jobs':>5} {'s':>7} {'start-up':>9} {'CPU s':>7} {'start-up':>9}"
    return [head, *(_line(name, row) for name, row in [*ordered, ("all", total)])]


def _line(name: str, row: list[float]) -> str:
    jobs, wall, import_wall, cpu, import_cpu = row
    return f"{name:<12} {jobs:>5.0f} {wall:>7.1f} {import_wall:>9.1f} {cpu:>7.1f} {import_cpu:>9.1f}"


def milestones(run: Path, begun: float) -> str:
    """Say when the first verdict was there, what each round took, and when the outcome was there, s."""
    rounds = sorted(run.glob("round_*/round.json"), key=lambda path: int(path.parent.name.partition("_")[2]))
    ends = [path.stat().st_mtime for path in rounds]
    said = []
    first, outcome = run / "round_0/attempt_0/evaluation_0.parquet", run / "outcome.json"
    if first.exists():
        said.append(f"first verdict after {first.stat().st_mtime - begun:.1f} s")
    if ends:
        said.append(f"round 0 after {ends[0] - begun:.1f} s")
    if len(ends) > 1:
        said.append(f"rounds {', '.join(f'{later - earlier:.1f}' for earlier, later in pairwise(ends))} s")
    if ends and outcome.exists():
        said.append(f"outcome {outcome.stat().st_mtime - ends[-1]:.1f} s after the last")
    return ", ".join(said) or "no verdict"


def contents(run: Path) -> tuple[dict[str, str], list[list[str]]]:
    """Return the verdicts by kernel, and the kernels that each round selected."""
    evaluations = [row for path in run.glob("round_*/attempt_*/*.parquet") if path.name.startswith("evaluation")
                   for row in read_table(path, EvaluationRow)]  # fmt: skip
    selections = [read_table(path, SelectionRow) for path in sorted(run.glob("round_*/selection.parquet"))]
    return {row.kernel: row.verdict for row in evaluations}, [[row.kernel for row in rows] for rows in selections]


def compared(one: Path, other: Path) -> str:
    """Compare two runs: their selections, and the verdicts of the kernels that both judged."""
    (verdicts, selections), (others, other_selections) = contents(one), contents(other)
    both = verdicts.keys() & others.keys()
    differ = sorted(kernel[:12] for kernel in both if verdicts[kernel] != others[kernel])
    same = "equal" if selections == other_selections else "different"
    return f"selections {same}; {len(both)} kernels judged by both, verdicts differ for {differ or 'none'}"


def measured(name: str, warm: str, settings: Iterable[str], cores: str, limit_s: float) -> Path:
    """Run one search in a folder, print what it took, and return the run's folder."""
    folder = Path(name)
    folder.mkdir(parents=True)
    watch = Watch()
    watch.start()
    seconds, begun = search(folder, [f"warm={warm}", *settings], cores, limit_s)
    watch.ended.set()
    watch.join()
    records = [json.loads(path.read_text()) for path in (folder / "times").glob("*.json")]
    print(f"warm={warm}", *table(records), sep="\n")
    print(f"the whole search, Snakemake included: {seconds:.1f} s; {milestones(folder / 'results/t', begun)}")
    print("; ".join(watch.lines()), flush=True)
    return folder / "results/t"


def main() -> None:
    """Run the searches and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--warm", choices=["true", "false", "both"], default="true", help="fork jobs from warm parents")
    parser.add_argument("--pairs", type=int, default=1, help="with `--warm both`, how often each is run")
    parser.add_argument("--cores", default="all", help="cores of Snakemake")
    parser.add_argument("--seconds", type=float, default=3600.0, help="limit of each search, s")
    parser.add_argument("--folder", help="folder in which the runs stay; default: none stay")
    parser.add_argument("settings", nargs="*", metavar="SETTING=VALUE", help="settings of the search, e.g. judge=cuda")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kopt-search-time-") as root:
        for turn in range(args.pairs):
            ways = ("false", "true") if args.warm == "both" else (args.warm,)
            runs = [
                measured(f"{args.folder or root}/{turn}-{warm}", warm, args.settings, args.cores, args.seconds)
                for warm in ways
            ]
            if len(runs) == 2:
                print(compared(*runs))


if __name__ == "__main__":
    main()
