"""How long do CUDA contexts take, which every contestant needs, and do processes and GPUs wait for each other?

    python benchmarks/contexts.py [--processes 1 8 16] [--repeat 3]

Forks so many processes of one that has imported torch, as the judge does.  Each initialises CUDA by
`torch.cuda.init()`, then makes its context with its first tensor.  They share the first visible GPU, or all visible
GPUs in turn.  The table has the time until all are done, and the means of both steps.  Its rows repeat with variables
of CUDA that make a context smaller: fewer hardware queues for launches and copies, and shorter ones.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping, Sequence
from statistics import fmean, median

import torch

VARIANTS: Mapping[str, Mapping[str, str]] = {
    "as it is": {},
    "1 queue": {"CUDA_DEVICE_MAX_CONNECTIONS": "1"},
    "1 queue, 1 copy queue": {"CUDA_DEVICE_MAX_CONNECTIONS": "1", "CUDA_DEVICE_MAX_COPY_CONNECTIONS": "1"},
    "1 of each, short": {
        "CUDA_DEVICE_MAX_CONNECTIONS": "1", "CUDA_DEVICE_MAX_COPY_CONNECTIONS": "1",
        "CUDA_SCALE_LAUNCH_QUEUES": "0.25x",
    },
}  # fmt: skip
"""Environments by name."""


def one(gpu: str, variables: Mapping[str, str], start: int, results: int) -> None:
    """Make a context when a byte comes, and report the seconds of both steps; never returns."""
    os.environ.update({**variables, "CUDA_VISIBLE_DEVICES": gpu})
    os.read(start, 1)
    before = time.perf_counter()
    torch.cuda.init()
    between = time.perf_counter()
    torch.empty(1, device="cuda")
    after = time.perf_counter()
    os.write(results, (json.dumps([between - before, after - between]) + "\n").encode())
    os._exit(0)


def together(count: int, gpus: Sequence[str], variables: Mapping[str, str]) -> tuple[float, float, float]:
    """Return how long so many processes take, and the means of both steps, s."""
    results, written = os.pipe()
    start, started = os.pipe()
    processes = []
    for number in range(count):
        processes.append(os.fork())
        if not processes[-1]:
            one(gpus[number % len(gpus)], variables, start, written)
    time.sleep(0.2)
    since = time.perf_counter()
    os.write(started, b"x" * count)
    for process in processes:
        os.waitpid(process, 0)
    seconds = time.perf_counter() - since
    for descriptor in (written, start, started):
        os.close(descriptor)
    with os.fdopen(results) as file:
        steps = [json.loads(line) for line in file]
    if len(steps) < count:
        raise SystemExit(f"{count - len(steps)} of {count} processes made no context")
    return seconds, fmean(step[0] for step in steps), fmean(step[1] for step in steps)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 8, 16])
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(len(_devices()))))
    gpus = visible.split(",")
    print(f"{'environment':24} {'processes':>9} {'GPUs':>4} {'all s':>6} {'init s':>6} {'context s':>9}")
    for name, variables in VARIANTS.items():
        for count in options.processes:
            for used in sorted({1, len(gpus)} if count > 1 else {1}):
                runs = [together(count, gpus[:used], variables) for _ in range(options.repeat)]
                whole, init, context = (median(run[place] for run in runs) for place in range(3))
                print(f"{name:24} {count:9} {used:4} {whole:6.2f} {init:6.2f} {context:9.2f}", flush=True)


def _devices() -> list[str]:
    """List the GPUs of this machine without using CUDA."""
    return sorted(name for name in os.listdir("/dev") if name.startswith("nvidia") and name[6:].isdigit())


if __name__ == "__main__":
    main()
