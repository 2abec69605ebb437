"""Do estimated times rank kernels as measured ones do?

    python benchmarks/estimate.py [--verbose]
    python benchmarks/estimate.py --run results/matvec-beam_search [--run ...] [--store results/store]
    python benchmarks/estimate.py --run results/maxpool3d-written --store results/maxpool3d-written.replay/store

Builds the kernels of `estimate_h100.json` (seeds and their rewrites, each timed once on an H100; the file says how),
estimates each, and prints Spearman's rank correlation by problem and workload, and over all.  With `--run` the kernels
are all correct ones of runs that were judged on a GPU, with the times of their evaluation.  Beside it the setting
`screen` is replayed on them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
from pathlib import Path

import pandas as pd

from kopt.artifact import read_tables, read_value
from kopt.backends.triton_builder import build_with_triton
from kopt.device.facts.facts import problem_facts
from kopt.estimate.kernel_time import estimate
from kopt.jobs.kernels import kernel_source
from kopt.load_config import load_device
from kopt.model.build import Built
from kopt.model.device import Device
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem, ProblemFacts
from kopt.model.trial import EvaluationRow
from kopt.problem.folder import load
from kopt.sandbox.environment import NO_GPU, environment_set
from kopt.search.screen import bound_of, screen
from kopt.store import Store

ROOT = Path(__file__).resolve().parent.parent
MEASURED = Path(__file__).with_name("estimate_h100.json")


def compare(problem_name: str, kernels: list[dict], store: Store) -> list[dict]:
    """Measured and estimated time of each kernel on each main workload; a kernel that does not build is left out."""
    problem, device = load(ROOT / "config/problems" / problem_name), load_device("h100", ROOT)
    build = build_with_triton(problem, device, store, workers=os.cpu_count() or 1, seconds=120)
    with environment_set(NO_GPU):
        builds = build([Kernel(source=kernel["source"]) for kernel in kernels])
    facts, rows = problem_facts(problem), []
    for index, built in sorted(builds.items()):
        if not isinstance(built, Built):
            print(f"{problem_name} {index}: {built.phase}: {built.reason.splitlines()[0]}")
            continue
        estimated = estimate(built, facts, device, lambda name: store.text("ptx", name, ".ptx"))
        for one in estimated.workloads:
            if (ms := kernels[index]["ms"].get(one.workload)) is not None:
                rows.append({"problem": problem_name, "workload": one.workload, "measured": ms, "estimated": one.ms})
    return rows


def compare_run(run: Path, store: Store) -> list[dict]:
    """Measured and estimated time of every correct kernel of a run; its objective, over all main workloads.

    A replay's store has no builds: its kernels are built anew, for the GPU of the run, by this machine's Triton.
    """
    facts, device = read_value(run / "facts.json", ProblemFacts), read_value(run / "device.json", Device)
    problem = read_value(run / "problem.json", Problem)
    tables = sorted(run.glob("round_*/attempt_*/evaluation_*.parquet"))
    right = [row for row in read_tables(tables, EvaluationRow) if row.verdict == "passed" and not row.estimated]
    kernels = [Kernel(source=kernel_source(row.kernel, store), entry=problem.seed.entry) for row in right]
    build = build_with_triton(problem, device, store, workers=os.cpu_count() or 1, seconds=120)
    with environment_set(NO_GPU):
        builds = build(kernels)
    return [
        {
            "problem": problem.name, "workload": "all", "measured": row.time_ms,
            "estimated": estimate(built, facts, device, lambda name: store.text("ptx", name, ".ptx")).objective_ms,
        }
        for at, row in enumerate(right)
        if isinstance(built := builds[at], Built)
    ]  # fmt: skip


def spearman(rows: pd.DataFrame) -> float:
    """Rank correlation of estimated and measured times."""
    return float(rows.estimated.rank().corr(rows.measured.rank()))


def replayed_screen(rows: pd.DataFrame, kernels: int = 8, orders: int = 500) -> tuple[float, float, float] | None:
    """Replay the setting `screen`: the first kernels of a random order are measured, the others come all in one round.

    Args:
        rows: measured and estimated times of one problem.
        kernels: kernels that are measured first.
        orders: random orders.

    Returns:
        Mean share of the others that is not judged, share of the orders in which the fastest is missed, and the largest
        regret: how much faster the fastest kernel is than the fastest that is judged, as a share of the latter's time.
        None with too few kernels.
    """
    if len(rows) < kernels + 4:
        return None
    draw, pairs = random.Random(0), list(zip(rows.estimated, rows.measured, strict=True))
    shares, regrets = [], []
    for _ in range(orders):
        order = draw.sample(pairs, len(pairs))
        best_estimate, best_ms = min(order[:kernels], key=lambda pair: pair[1])
        bound = bound_of([(estimated / best_estimate, ms / best_ms) for estimated, ms in order[:kernels]], kernels)
        others = order[kernels:]
        decided = screen({at: pair[0] / best_estimate for at, pair in enumerate(others)}, bound, str(draw.random()))
        judged = [others[row.slot][1] for row in decided if row.fate != "skipped"]
        fastest = min(best_ms, *judged)
        shares.append(1 - len(judged) / len(others))
        regrets.append(1 - min(fastest, *(ms for _, ms in others)) / fastest)
    missed = sum(regret > 0 for regret in regrets) / orders
    return sum(shares) / orders, missed, max(regrets)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--verbose", action="store_true", help="print every kernel")
    parser.add_argument("--run", type=Path, action="append", default=[], help="folder of a run on a GPU")
    parser.add_argument("--store", type=Path, default=Path("results/store"), help="the store of those runs")
    options = parser.parse_args()
    if options.run:
        show([row for run in options.run for row in compare_run(run, Store(options.store))], options.verbose)
        return
    recorded = json.loads(MEASURED.read_text())
    print(f"measured on {recorded['measured']}")
    rows: list[dict] = []
    with tempfile.TemporaryDirectory(prefix="kopt-") as folder:
        for name in sorted({kernel["problem"] for kernel in recorded["kernels"]}):
            mine = [kernel for kernel in recorded["kernels"] if kernel["problem"] == name]
            rows += compare(name, mine, Store(Path(folder)))
    show(rows, options.verbose)


def show(rows: list[dict], verbose: bool) -> None:
    """Print the correlations."""
    table = pd.DataFrame(rows)
    if verbose:
        print(table.assign(ratio=table.estimated / table.measured).to_string(index=False))
    print(f"{'problem':<16}{'workload':<18}{'kernels':>8}{'rank correlation':>18}  screen: not judged, missed, regret")
    for (problem, workload), group in table.groupby(["problem", "workload"]):
        replayed = replayed_screen(group)
        screened = " ".join(f"{share:>12.1%}" for share in replayed) if replayed else ""
        print(f"{problem:<16}{workload:<18}{len(group):>8}{spearman(group):>18.3f}{screened}")
    print(f"{'all':<34}{len(table):>8}{spearman(table):>18.3f}")


if __name__ == "__main__":
    main()
