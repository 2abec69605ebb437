"""Judge published Triton kernels without a GPU and print a table of the outcomes.

The repositories are not part of kopt: check them out below one folder, each under its own name (Liger-Kernel, FlagGems,
TritonBench, unsloth, KernelAgent).  The adapters in `benchmarks/public` say what a kernel computes and how it is
called.  The status is 1 when a kernel did not end as it should.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from public import flaggems, kernelagent, liger, tritonbench, unsloth
from public.adapter import Adapter, Repository, make_case
from verdict_cases import Ending, judge

from kopt.load_config import load_device

REPOSITORIES = (
    liger.REPOSITORY,
    unsloth.REPOSITORY,
    flaggems.REPOSITORY,
    tritonbench.REPOSITORY,
    kernelagent.REPOSITORY,
)
ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Judge the chosen kernels, batch by batch, and return the exit status."""
    options = _options()
    chosen = [
        (repository, adapter)
        for repository in REPOSITORIES
        for adapter in repository.adapters
        if not options.only or any(part in f"{repository.name}/{adapter.name}" for part in options.only)
    ]
    device = load_device(options.device, ROOT)
    results = json.loads(options.results.read_text()) if options.results and options.results.is_file() else {}
    bad = 0
    for first in range(0, len(chosen), options.batch):
        group = chosen[first : first + options.batch]
        cases = [make_case(repository, adapter, options.folder) for repository, adapter in group]
        ends = judge(cases, device, workers=options.workers, wall_s=options.wall_s, seed=options.seed)
        for (repository, adapter), end in zip(group, ends, strict=True):
            bad += end.end != adapter.ends
            print(row(repository, adapter, end), flush=True)
            results[f"{repository.name}/{adapter.name}"] = (end.end, end.reason)
        if options.results:
            options.results.write_text(json.dumps(results, indent=1))
    print(f"{len(chosen) - bad} of {len(chosen)} as they should end")
    return int(bad > 0)


def row(repository: Repository, adapter: Adapter, end: Ending) -> str:
    """Return the table's row of one kernel."""
    mark = "" if end.end == adapter.ends else " **not as it should**"
    why = "; ".join(filter(None, (adapter.why, end.reason)))
    return f"| {repository.name} | {adapter.name} | {end.end}{mark} | {' '.join(why.split())} |"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path, help="folder that holds the repositories")
    parser.add_argument("--only", nargs="*", help="judge the kernels whose repository/name contains one of these")
    parser.add_argument("--device", default="h100", help="device to build for")
    parser.add_argument("--batch", type=int, default=8, help="kernels judged together")
    parser.add_argument("--workers", type=int, default=1, help="kernels judged side by side")
    parser.add_argument("--wall-s", type=float, default=120, help="limit of a kernel's build and verification, s")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draws")
    parser.add_argument("--results", type=Path, help="JSON file that collects the outcomes")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
