"""`kopt build`: trace and compile one kernel without a GPU."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from kopt.commands.parts.arguments import ROOT, add_kernel, check_store, kernel_text, problem_of
from kopt.config import Config
from kopt.load_config import load_device
from kopt.model.build import Build, BuildFailed
from kopt.sandbox.environment import NO_GPU, environment_set
from kopt.store import Store

if TYPE_CHECKING:
    from kopt.commands.parts.arguments import Commands


def add_parser(commands: Commands) -> None:
    """Declare the command's words."""
    parser = commands.add_parser("build", help="trace and compile one kernel without a GPU")
    add_kernel(parser)
    parser.add_argument("--device", default=Config().device, help="GPU to build for: name in config/devices, or file")
    parser.add_argument("--store", type=Path, help="keep PTX and cubin in this store")
    parser.add_argument("--json", action="store_true", help="print the whole build as JSON")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Build the kernel and print the build; the status is 1 when it fails."""
    from kopt.backends.triton_builder import build_with_triton

    problem = problem_of(options.problem)
    check_store(options.store)
    device = load_device(options.device, ROOT)
    kernel = problem.seed.with_source(kernel_text(options.file))
    with tempfile.TemporaryDirectory(prefix="kopt-") as scratch:
        build_all = build_with_triton(
            problem, device, Store(options.store or Path(scratch)), workers=os.cpu_count() or 1,
            seconds=Config().limits.build_seconds,
        )  # fmt: skip
        with environment_set(NO_GPU):
            build = build_all([kernel])[0]
    print(json.dumps(build.model_dump(mode="json"), indent=1) if options.json else in_words(build))
    return 1 if isinstance(build, BuildFailed) else 0


def in_words(build: Build) -> str:
    """Describe a build for the terminal: a line for each workload, and one for each launch."""
    if isinstance(build, BuildFailed):
        return f"failed in {build.phase}: {build.reason}"
    lines = [f"built, fingerprint {build.fingerprint}"]
    for workload in build.workloads:
        lines.append(f"workload {workload.workload}: {len(workload.host_ops)} host operations")
        for launch in workload.launches:
            lines.append(
                f"  {launch.kernel} grid {'x'.join(map(str, launch.grid))} warps {launch.num_warps} "
                f"stages {launch.num_stages} shared {launch.shared_bytes} B registers {launch.registers} "
                f"spills {launch.spills} B{' (autotune trial)' if launch.trial else ''}"
            )
    return "\n".join(lines)
