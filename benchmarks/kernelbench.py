"""Set up and calibrate KernelBench's problems, files unchanged, without a GPU: how many can kopt judge?

    python benchmarks/kernelbench.py KernelBench/KernelBench/level1 KernelBench/KernelBench/level2

A file is set up when its workloads are derived, its reference is traced at full size, and its model and inputs appear
on a pretended GPU.  It is judgeable when draws are made on the small workloads, the tolerance is calibrated, and
outputs that are wrong on purpose are refused.  No kernel is judged.  The table ends with the reasons for the rest.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from kopt.errors import KoptError
from kopt.load_config import load_device
from kopt.model.device import Device
from kopt.model.problem import Problem
from kopt.sandbox.environment import NO_GPU, environment_set

ROOT = Path(__file__).resolve().parents[1]


class Row(NamedTuple):
    """Result of setting up and calibrating one KernelBench file."""

    name: str
    set_up: bool
    judgeable: bool
    seconds: float
    """Both steps together, without the start of a process."""
    calibration_s: float
    reason: str = ""


def main(words: Sequence[str] | None = None) -> int:
    """Print the table; the status is 1 where fewer are set up or judgeable than asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path, help="folders of KernelBench files, or files")
    parser.add_argument("--workers", type=int, default=2, help="files at a time")
    parser.add_argument("--device", default="h100", help="device to set up for, a file in config/devices")
    parser.add_argument("--all", action="store_true", help="print a line for every file")
    parser.add_argument("--set-up", type=float, default=0.98, help="least share that is set up")
    parser.add_argument("--judgeable", type=float, default=0.95, help="least share that is judgeable")
    options = parser.parse_args(words)
    files = [file for path in options.paths for file in (sorted(path.glob("*.py")) if path.is_dir() else [path])]
    rows = tried(files, load_device(options.device, ROOT), options.workers)
    print(in_words(rows, every=options.all))
    return int(
        sum(row.set_up for row in rows) < options.set_up * len(rows)
        or sum(row.judgeable for row in rows) < options.judgeable * len(rows)
    )


def tried(files: Sequence[Path], device: Device, workers: int) -> list[Row]:
    """Try every file, each in a forked process of its own."""
    with environment_set(NO_GPU):
        _imported()
        with get_context("fork").Pool(workers, maxtasksperchild=1) as pool:
            return pool.map(partial(row_of, device=device), files, chunksize=1)


def row_of(file: Path, device: Device) -> Row:
    """Set up and calibrate one file."""
    from kopt.problem.derive import with_workloads

    name = f"{file.parent.name}/{file.stem}"
    start = time.monotonic()
    try:
        problem = with_workloads(file.stem, file.read_text())
        set_up(problem, device)
    except KoptError as error:
        return Row(name, False, False, time.monotonic() - start, 0.0, str(error))
    middle = time.monotonic()
    reason = refusal(problem)
    end = time.monotonic()
    return Row(name, True, not reason, end - start, end - middle, reason)


def set_up(problem: Problem, device: Device) -> None:
    """Trace the reference at full size on meta tensors, and set it up on the pretended device."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    from kopt.device.build.stub_gpu import pretend
    from kopt.device.build.trace import prepare
    from kopt.device.facts.facts import problem_facts

    problem_facts(problem)
    with pretend(device, _forbidden), FakeTensorMode(allow_non_fake_inputs=True):
        for workload in problem.main:
            prepare(problem, workload)


def refusal(problem: Problem) -> str:
    """Return why the problem cannot be judged on its small workloads; empty when it can."""
    from kopt.device.expected.calibration import calibrate

    try:
        return calibrate(problem, problem.small).refusal
    except KoptError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - a fault of kopt is a row of the table
        return f"kopt breaks: {type(error).__name__}: {' '.join(str(error).split())[:200]}"


def in_words(rows: Sequence[Row], *, every: bool) -> str:
    """Write the table and the reasons."""
    lines = []
    for level in sorted({row.name.partition("/")[0] for row in rows}):
        of = [row for row in rows if row.name.startswith(f"{level}/")]
        seconds = sorted(row.seconds for row in of)
        lines.append(
            f"{level}: {len(of)} files, set up {sum(r.set_up for r in of)}, judgeable {sum(r.judgeable for r in of)}, "
            f"seconds a file: median {seconds[len(seconds) // 2]:.1f}, most {seconds[-1]:.1f}"
        )
    for row in rows:
        if every or not row.judgeable:
            state = "judgeable" if row.judgeable else "set up" if row.set_up else "not set up"
            lines.append(f"  {row.name}: {state}, {row.seconds:.1f} s{f': {row.reason}' if row.reason else ''}")
    return "\n".join(lines)


def _imported() -> None:
    """Import what every file needs, before the processes fork."""
    import torch

    import kopt.device.build.trace
    import kopt.device.expected.calibration
    import kopt.problem.derive  # noqa: F401

    torch.rand(2, device="meta")  # imports the compiler, which takes a second
    torch.set_num_threads(1)


def _forbidden(what: str) -> None:
    raise AssertionError(f"the reference uses {what}")


if __name__ == "__main__":
    raise SystemExit(main())
