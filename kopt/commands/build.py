"""`kopt build`: trace and compile one kernel without a GPU."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from kopt.command_line.panel import Panel, Place
from kopt.commands.parts.arguments import (
    DEFAULTS,
    ROOT,
    AsJson,
    DeviceName,
    KeepStore,
    KernelFile,
    ProblemOption,
    check_store,
    kernel_text,
    problem_of,
)
from kopt.commands.parts.output import print_answer
from kopt.config import Config
from kopt.load_config import load_device
from kopt.model.build import Build, BuildFailed
from kopt.sandbox.environment import NO_GPU, environment_set
from kopt.store import Store

PLACE = Place(Panel.HOUSE, 5)


def run(
    file: KernelFile,
    problem: ProblemOption,
    device: DeviceName = DEFAULTS.device,
    store: KeepStore = None,
    json: AsJson = False,
) -> int:
    """Trace and compile one kernel without a GPU.

    Print its launches, registers, spills and fingerprint, or why it was rejected; the status is 1 where it was.

    JSON: `status` (`built` or `failed`), `fingerprint` and `workloads` with their `launches`; or `phase` and
    `reason`.

    Example:
        kopt build kernel.py --problem softmax
    """
    from kopt.backends.triton_builder import build_with_triton

    found = problem_of(problem)
    check_store(store)
    target = load_device(device, ROOT)
    kernel = found.seed.with_source(kernel_text(file))
    with tempfile.TemporaryDirectory(prefix="kopt-") as scratch:
        build_all = build_with_triton(
            found, target, Store(store or Path(scratch)), workers=os.cpu_count() or 1,
            seconds=Config().limits.build_seconds,
        )  # fmt: skip
        with environment_set(NO_GPU):
            build = build_all([kernel])[0]
    print_answer(build, [in_words(build)], as_json=json)
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
