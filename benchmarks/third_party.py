"""Time a search's best kernel by SOL-ExecBench's own evaluator, beside kopt's time for it on the same GPU.

    git clone https://github.com/NVIDIA/SOL-ExecBench
    pip install cupti-python safetensors
    kopt replay docs/results/h200/gemma3_swiglu.replies.tar.xz
    python benchmarks/third_party.py SOL-ExecBench results/gemma3_swiglu-written \
        --problem SOL-ExecBench/examples/pytorch/gemma3_swiglu

The kernel leaves kopt as `kopt export --as sol-execbench` writes it; `sol-execbench` verifies it ten times and times
it, in its own process and with its own inputs, by CUPTI.  Then kopt makes a problem of the same definition and judges
the same kernel with `kopt evaluate`.  For each workload the table has both times, in ms, and their ratio.  `--repeat`
does both again, in turn, so that the spread of each can be seen.  kopt times a call between two events, CUPTI the
kernels alone, from the start of the first to the end of the last, which leaves out the launch.  Exits 1 where the
evaluator does not pass the kernel, or where medians differ by more than a launch takes and more than `--tolerance`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
LAUNCH_MS = 0.010
"""Longest time between the events of a call beside the duration of its kernel, ms: 5 to 10 µs were seen on H200s."""


class Evaluated(NamedTuple):
    """One workload, by the evaluator."""

    axes: dict[str, int]
    status: str
    ms: float | None
    reference_ms: float | None

    @property
    def workload(self) -> str:
        """Name of kopt's workload of these sizes, as `kopt new` makes it."""
        return "_".join(f"{axis}{size}" for axis, size in self.axes.items())


def kopt(*words: str | Path, folder: Path) -> str:
    """Call a command of kopt; return its output.

    Raises:
        SystemExit: the command failed.
    """
    command = [sys.executable, "-m", "kopt.cli", *map(str, words)]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def exported(run: Path, definition: str, folder: Path) -> Path:
    """Export the best kernel of a run as a solution of a definition."""
    file = folder / "solution.json"
    kopt("export", run.resolve(), "--as", "sol-execbench", "--output", file, folder=Path.cwd())
    solution = json.loads(file.read_text())
    file.write_text(json.dumps(solution | {"definition": definition}))
    return file


def by_sol_execbench(checkout: Path, problem: Path, solution: Path, folder: Path) -> list[Evaluated]:
    """Let the evaluator verify and time a solution; return its results in the order of the workloads.

    Raises:
        SystemExit: the evaluator gave no results.
    """
    traces = folder / "traces.jsonl"
    call = "from sol_execbench.cli.main import cli; cli()"
    path = os.pathsep.join([str((checkout / "src").resolve()), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", call, problem, "--solution", solution, "--output", traces],
        env=os.environ | {"PYTHONPATH": path, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if not traces.exists() or not (lines := traces.read_text().split("\n")):
        sys.exit(f"SOL-ExecBench gave no results:\n{done.stdout}{done.stderr}")
    return [_evaluated(json.loads(line)) for line in lines if line.strip()]


def _evaluated(trace: dict[str, Any]) -> Evaluated:
    evaluation = trace["evaluation"]
    performance = evaluation.get("performance") or {}
    return Evaluated(
        trace["workload"]["axes"], evaluation["status"], performance.get("latency_ms"),
        performance.get("reference_latency_ms"),
    )  # fmt: skip


def by_kopt(problem: str, kernel: Path, folder: Path) -> dict[str, float]:
    """Judge and time the kernel as a search does; return the median of each workload, ms.

    Raises:
        SystemExit: the kernel was refused.
    """
    judged = json.loads(kopt("evaluate", kernel.resolve(), "--problem", problem, "--json", folder=folder))
    return {row["workload"]: row["ms"] for row in judged["time"]["workloads"]}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkout", type=Path, help="checkout of SOL-ExecBench")
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--problem", type=Path, required=True, help="folder with definition.json and workload.jsonl")
    parser.add_argument("--repeat", type=int, default=3, help="times that each evaluator is asked (default 3)")
    parser.add_argument(
        "--tolerance", type=float, default=0.05, help="allowed difference of the medians (default 0.05)"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kopt-third-party-") as name:
        folder = Path(name)
        definition = json.loads((options.problem / "definition.json").read_text())["name"]
        solution = exported(options.run, definition, folder)
        kopt("new", "./defined", "--from", options.problem.resolve(), folder=folder)
        theirs: list[list[Evaluated]] = []
        ours: list[dict[str, float]] = []
        for turn in range(options.repeat):
            theirs.append(by_sol_execbench(options.checkout, options.problem, solution, folder))
            for one in theirs[-1]:
                print(f"turn {turn}: SOL-ExecBench {one.workload} {one.status} {one.ms} ms", flush=True)
            ours.append(by_kopt("./defined", options.run / "best_kernel.py", folder))
            for workload, ms in ours[-1].items():
                print(f"turn {turn}: kopt {workload} {ms:.4f} ms", flush=True)
    sys.exit(table(theirs, ours, options.tolerance))


def table(theirs: list[list[Evaluated]], ours: list[dict[str, float]], tolerance: float) -> int:
    """Print both times of each workload; return 1 where a kernel did not pass, or the times differ."""
    failed = 0
    print(f"{'workload':>28} {'SOL-ExecBench':>24} {'its reference':>14} {'kopt':>24} {'ratio':>7} {'µs apart':>9}")
    for row in zip(*theirs, strict=True):
        name = row[0].workload
        times = [one.ms for one in row if one.status == "PASSED" and one.ms is not None]
        if len(times) < len(row):
            failed = 1
            print(f"{name:>28} {', '.join(one.status for one in row)}")
            continue
        own = [turn[name] for turn in ours]
        ratio, reference = median(times) / median(own), median(one.reference_ms or 0.0 for one in row)
        apart = median(own) - median(times)
        failed |= abs(ratio - 1) > tolerance and not 0 <= apart <= LAUNCH_MS
        print(
            f"{name:>28} {_spread(times):>24} {reference:>14.4f} {_spread(own):>24} {ratio:>7.3f} {1e3 * apart:>9.1f}"
        )
    return int(failed)


def _spread(values: list[float]) -> str:
    return f"{median(values):.4f} ({min(values):.4f}-{max(values):.4f})"


if __name__ == "__main__":
    main()
