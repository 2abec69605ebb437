"""`kopt evaluate`: build, verify and time one kernel, as a search does."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from kopt.commands.parts.arguments import (
    ROOT,
    add_judge,
    add_kernel,
    check_store,
    count,
    kernel_text,
    problem_of,
    uses_gpu,
)
from kopt.config import Config
from kopt.load_config import load_device
from kopt.store import Store

if TYPE_CHECKING:
    from kopt.commands.parts.arguments import Commands


def add_parser(commands: Commands) -> None:
    """Declare the command's words."""
    parser = commands.add_parser("evaluate", help="build, verify and time one kernel, as a search does")
    add_kernel(parser)
    parser.add_argument(
        "--device",
        help="what to estimate for: name in config/devices (default h100), or file; with judge cuda, what the GPU must "
        "be like",
    )
    parser.add_argument("--store", type=Path, help="keep PTX, cubin and the GPU's measured rates in this store")
    add_judge(parser)
    parser.add_argument("--repeat", type=count, default=Config().benchmark_repeat, help="timed calls on a GPU")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Evaluate the kernel and print what became of it; the status is 0 when it passed, else 1."""
    from kopt.commands.parts.evaluation import in_words
    from kopt.commands.parts.one_kernel import EvaluateRequest, evaluate_on_gpu, evaluate_without_gpu

    problem, limits = problem_of(options.problem), Config().limits
    check_store(options.store)
    request = EvaluateRequest(
        kernel=problem.seed.with_source(kernel_text(options.file)), problem=problem, seed=options.seed,
        build_seconds=limits.build_seconds, judge_seconds=limits.judge_seconds, repeat=options.repeat,
        wait_s=options.wait,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="kopt-") as scratch:
        store = Store((options.store or Path(scratch)).resolve())
        if uses_gpu(options.judge):
            wanted = load_device(options.device, ROOT) if options.device else None
            evaluated = evaluate_on_gpu(request, wanted, store)
        else:
            evaluated = evaluate_without_gpu(request, load_device(options.device or Config().device, ROOT), store)
    print(json.dumps(evaluated.model_dump(mode="json"), indent=1) if options.json else in_words(evaluated))
    return 0 if evaluated.status == "passed" else 1
