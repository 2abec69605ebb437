"""Kill a search again and again while it asks language models, and look for requests that are asked again.

    python benchmarks/llm_interruptions.py [--kills 20] [--seed 0] [--latency 0.2] [--limit 4]

Runs a search by two served models twice from an empty store: once undisturbed, once with SIGKILL of Snakemake and all
its children at random moments of its generate jobs, each followed by `--unlock` and the same command.  Nothing is built
or judged (`judge=dry`): the prompts, calls, store, ledger and DAG are the real ones.  A moment is drawn as a number of
replies that the server has served since the search went on, and up to one call's time after that.  Exits 1 when the
selections differ, or when a call was made that neither an undisturbed search makes nor was in flight at a kill.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / folder) for folder in ("workflow", "llm")]  # the server and the killing are theirs

from killed_search import Search, Span, arrived, disturb, faults, gaps  # noqa: E402
from llm_servers import FaultServer  # noqa: E402
from local_models import KEYS, kernel_server, write_models  # noqa: E402

from kopt.llm.ledger import Ledger  # noqa: E402

CONFIG = (
    "problem=softmax", "run=t", "rounds=2", "judge=dry", "models=[claude-local,gpt-local]", "candidate_pool_size=2",
    "num_bottlenecks=4", "samples_per_prompt=8", "max_repairs=0", "diagnosis=rules", "reflection=none",
)  # fmt: skip


def main() -> int:
    """Run both searches, print the comparison, and return 1 when they differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--limit", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kopt-") as name:
        begun = [_begin(Path(name) / part, options) for part in ("calm", "disturbed")]
        try:
            return _compare(options, *begun[0], *begun[1])
        finally:
            for search, server in begun:
                search.stop()
                server.stop()


def _begin(folder: Path, options: argparse.Namespace) -> tuple[Search, FaultServer]:
    (folder / "config").mkdir(parents=True)
    server = kernel_server(folder / "server.jsonl", "--latency", str(options.latency))
    write_models(folder, server.port)
    snakemake = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2"]
    command = [*snakemake, "--directory", str(folder), "--quiet", "all"]
    config = (*CONFIG, f"models_file={folder}/config/models.yaml", f"llm={{concurrency: {options.limit}}}")
    return Search(folder, command, config, os.environ | KEYS), server


def _compare(
    options: argparse.Namespace, calm: Search, calm_server: FaultServer, search: Search, server: FaultServer
) -> int:
    start = time.monotonic()
    calm.finish()
    needed = arrived(calm_server)
    print(f"left alone: {needed.total()} calls, {time.monotonic() - start:.0f} s", flush=True)
    start = time.monotonic()
    moments = gaps(options.kills, needed.total() - (options.kills + 2) * options.limit, options.seed)
    spans = disturb(search, server, moments, pause=options.latency)
    print(f"{len(spans) - 1} kills: {arrived(server).total()} calls, {time.monotonic() - start:.0f} s")
    _describe(spans, search)
    found = faults(spans, needed, options.limit)
    if search.ended_as() != calm.ended_as():
        found.append("ANOTHER selection")
    print("\n".join(found) or "no answered request was asked again; the same selections and best kernel")
    return 1 if found else 0


def _describe(spans: list[Span], search: Search) -> None:
    lost = [span.lost.total() for span in spans[:-1]]
    kept = [span.kept_after.total() for span in spans]
    print(f"in flight at the kills: {' '.join(map(str, lost))}; in all {sum(lost)}")
    print(f"replies in the store after each: {' '.join(map(str, kept))}")
    ledger = Ledger(search.folder / "results" / "t" / "ledger.jsonl")
    ledger.refresh()
    cost = ledger.cost()
    print(f"the ledger: {cost.calls} replies, {cost.lost} calls lost, {cost.stored} replies found again")


if __name__ == "__main__":
    sys.exit(main())
