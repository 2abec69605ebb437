"""`kopt seed`: make a seed kernel from a problem's reference."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from kopt.artifact import write_text
from kopt.commands.parts.arguments import ROOT, add_judge, check_store, count, problem_of, seconds, uses_gpu
from kopt.config import Config
from kopt.errors import ConfigError, SeedError
from kopt.load_config import load_device
from kopt.sandbox.environment import NO_GPU
from kopt.sandbox.fresh import run_with_environment
from kopt.store import Store

if TYPE_CHECKING:
    from kopt.commands.parts.arguments import Commands
    from kopt.commands.parts.evaluation import Evaluated
    from kopt.model.problem import Problem
    from kopt.seed.make import Seed

START_S = 120.0
"""Most time of the process that makes seeds beside its limit: imports; generous, s."""


def add_parser(commands: Commands) -> None:
    """Declare the command's words."""
    parser = commands.add_parser("seed", help="make a seed kernel from a problem's reference")
    parser.add_argument("problem", help="name of a problem, or its folder")
    parser.add_argument("-o", "--out", type=Path, help="file to write the seed to (default: print it)")
    parser.add_argument(
        "--variants", type=count, default=1, help="configurations to try; the fastest right one is kept"
    )
    parser.add_argument("--device", help="GPU to make the seed for: a name in config/devices (default h100), or a file")
    parser.add_argument("--limit", type=seconds, default=300.0, help="longest time to make the variants, s")
    parser.add_argument("--store", type=Path, help="keep PTX, cubin and the GPU's measured rates in this store")
    add_judge(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Make seeds, judge them, and write the fastest right one; the status is 1 when none is right.

    Raises:
        SeedError: no seed can be made.
        ConfigError: the file cannot be written.
    """
    from kopt.commands.parts.evaluation import in_words
    from kopt.seed.make import make_seeds

    problem = problem_of(options.problem)
    check_store(options.store)
    _check_out(options.out)
    device = load_device(options.device or Config().device, ROOT)
    try:
        seeds = run_with_environment(
            NO_GPU, options.limit + START_S, make_seeds, problem, device, variants=options.variants,
            limit_s=options.limit,
        )  # fmt: skip
    except SeedError as error:
        raise SeedError(f"no seed: {error}") from error
    with tempfile.TemporaryDirectory(prefix="kopt-") as scratch:
        store = Store((options.store or Path(scratch)).resolve())
        judged = [(seed, _evaluated(seed, problem, options, store)) for seed in seeds]
    seed, evaluated = min(judged, key=lambda pair: _rank(pair[1]))
    print(f"{problem.name}: made by {seed.made_by}, {len(seeds)} tried", file=sys.stderr)
    print(in_words(evaluated), file=sys.stderr)
    if evaluated.status != "passed":
        print("no seed is written: none that was made is right", file=sys.stderr)
        return 1
    if options.out is None:
        print(seed.source, end="")
    else:
        write_text(options.out, seed.source)
    return 0


def _evaluated(seed: Seed, problem: Problem, options: argparse.Namespace, store: Store) -> Evaluated:
    """Build and judge a seed, as `kopt evaluate` does."""
    from kopt.commands.parts.one_kernel import EvaluateRequest, evaluate_on_gpu, evaluate_without_gpu

    limits = Config().limits
    request = EvaluateRequest(
        kernel=problem.seed.with_source(seed.source), problem=problem, seed=options.seed,
        build_seconds=limits.build_seconds, judge_seconds=limits.judge_seconds, repeat=Config().benchmark_repeat,
        wait_s=options.wait,
    )  # fmt: skip
    if uses_gpu(options.judge):
        return evaluate_on_gpu(request, load_device(options.device, ROOT) if options.device else None, store)
    return evaluate_without_gpu(request, load_device(options.device or Config().device, ROOT), store)


def _rank(evaluated: Evaluated) -> tuple[bool, float]:
    return evaluated.status != "passed", evaluated.time.ms if evaluated.time else 0.0


def _check_out(out: Path | None) -> None:
    """Refuse, before anything is spent, a file that cannot be written.

    Raises:
        ConfigError: it is a folder, or its folder does not exist.
    """
    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
        what = "is a folder" if out.is_dir() else f"cannot be written: {out.absolute().parent} is not a folder"
        raise ConfigError(f"--out {out} {what}")
