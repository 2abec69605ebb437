"""Schedule chunks on simulated GPUs by the real Snakemake, resources and leases: how much of 8 or 64 GPUs is used.

    python benchmarks/simulated_gpus.py [--gpus 1 8 64] [--chunks 2] [--seconds 20]

Each chunk leases a GPU as an evaluate job does (`kopt.device.hardware.lease`) and holds it for as long as a chunk of
kernels would take there, without using the CPU.  There are `--chunks` chunks for each GPU.  Prints seconds, the least
seconds that there can be, and the CPU seconds of a chunk, Snakemake's included: with many GPUs the starts of jobs, on
the cores of this machine, are the limit, so chunks must be long enough.  A job loads what an evaluate job loads but
torch, whose import takes two CPU seconds more.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent

SNAKEFILE = """
rule all:
    input: [f"done/{{n}}" for n in range({count})]

rule evaluate:
    output: touch("done/{{n}}")
    resources: gpu=1
    shell: "{python} {hold} {gpus} {seconds} {folder}"
"""

HOLD = """
import sys, time
from pathlib import Path
import kopt.backends.cuda, kopt.stages.evaluate
from kopt.device.hardware.gpus import Gpu
from kopt.device.hardware.lease import lease

count, seconds, folder = int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])
gpus = [
    Gpu(uuid=f"simulated-{n}", name="simulated", memory_bytes=80 << 30, driver="none", arch=90, index=n)
    for n in range(count)
]
with lease(gpus, wait_s=600, folder=folder) as held, held.exclusive(600):
    time.sleep(seconds)
    (folder / f"held-{held.gpu.index}").touch()
"""


class Scheduled(NamedTuple):
    """Time and use of GPUs of one scheduled set of chunks."""

    seconds: float
    cpu: float
    """CPU seconds of Snakemake and all jobs."""
    used: int
    """GPUs that were leased at all."""


def scheduled(gpus: int, chunks: int, seconds: float) -> Scheduled:
    """Run `chunks` chunks for each GPU."""
    with tempfile.TemporaryDirectory(prefix="kopt-gpus-") as name:
        folder = Path(name)
        (folder / "hold.py").write_text(HOLD)
        text = SNAKEFILE.format(
            count=gpus * chunks, python=sys.executable, hold=folder / "hold.py", gpus=gpus, seconds=seconds,
            folder=folder,
        )  # fmt: skip
        (folder / "Snakefile").write_text(text)
        command = [
            sys.executable, "-m", "snakemake", "--directory", folder, "--snakefile", folder / "Snakefile", "--cores",
            str(gpus), "--resources", f"gpu={gpus}", "--quiet", "all", "--scheduler", "greedy",
        ]  # fmt: skip
        start, before = time.monotonic(), _cpu()
        done = subprocess.run(
            command, capture_output=True, text=True, check=False,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))},
        )  # fmt: skip
        taken, cpu = time.monotonic() - start, _cpu() - before
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        return Scheduled(taken, cpu, len(list(folder.glob("held-*"))))


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--chunks", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    print(f"{'GPUs':>5} {'used':>5} {'chunks':>7} {'s':>7} {'least s':>8} {'share used':>11} {'CPU s/chunk':>12}")
    for gpus in options.gpus:
        count, least = gpus * options.chunks, options.chunks * options.seconds
        done = scheduled(gpus, options.chunks, options.seconds)
        print(
            f"{gpus:>5} {done.used:>5} {count:>7} {done.seconds:>7.1f} {least:>8.1f} {least / done.seconds:>11.2f} "
            f"{done.cpu / count:>12.2f}",
            flush=True,
        )
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
