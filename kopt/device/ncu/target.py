"""Run one candidate on one workload under Nsight Compute, and let one call be profiled.

    python -m kopt.device.ncu.target JOB.json

Candidate code runs here.  The environment has been cleaned (`kopt.device.ncu.run.environment`).  Nsight Compute's own
library in this process rules out the whole cage; this process can still be kept from writing outside its working
directory, from new connections, core dumps and large files.  A candidate that forges its profile misleads its own
diagnosis and nothing else: verdicts and times never come from here.
"""

from __future__ import annotations

import json
import os
import re
import resource
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any  # a candidate may return anything; torch does not type its profiler

import torch
from torch.cuda import profiler

from kopt.device.build.precompiled import install, quiet_compiler
from kopt.device.hardware.zygote import warm
from kopt.device.ncu.job import GPU, POLL_S, PREPARED, READY, TURN, ProfileJob
from kopt.device.reference import contract, setup
from kopt.errors import DeviceError
from kopt.sandbox import cage, landlock
from kopt.sandbox.environment import GPU_VARIABLE

PLAIN_TYPE = re.compile(r"\*?[a-z0-9]+")
"""A pointer, a number or a compile-time value, as Triton names its type."""

MOST_SIGNATURES, MOST_ARGUMENTS = 16, 200
"""Launchers that are compiled ahead, and arguments of one, at most: the compiler has no limits of its own."""

WARM_UP_CALLS = 2
"""Calls before the profiled one, in which kernels are compiled and an autotuner tries its configurations."""

FILE_BYTES = 256 << 20
"""Largest file that may be written."""


def main(job_file: str) -> None:
    """Run a job.

    Args:
        job_file: path of a `ProfileJob` as JSON.
    """
    ncu, root = os.getppid(), Path(job_file).parent
    job = ProfileJob.model_validate_json(Path(job_file).read_bytes())
    quiet_compiler()
    install(job.compiled)
    _ready_triton(job.signatures)
    (root / READY).touch()
    _see_gpu(root / GPU, ncu)
    reference, model, inputs = _made_inputs(job)
    (root / PREPARED).touch()
    _wait_for(root / TURN, ncu)
    _confine(Path.cwd())
    entry = contract.load_candidate(job.kernel, Path.cwd())
    arguments = contract.bind_arguments(entry, inputs, model, reference)

    def call() -> None:
        with torch.no_grad():
            arguments.call(entry)

    for _ in range(WARM_UP_CALLS):
        call()
    torch.cuda.synchronize()
    range_of_interest: Any = profiler
    range_of_interest.start()
    call()
    torch.cuda.synchronize()
    range_of_interest.stop()


def _ready_triton(signatures: Sequence[Sequence[str]]) -> None:
    """Let Triton hash itself, and compile what it launches kernels by, while no GPU is held: two seconds and more.

    Nothing is decided here: what fails fails again in the first launch, which says why.  Triton writes the types of a
    signature into C code, and this process is not confined yet, so that only plain ones are taken.
    """
    threads = torch.get_num_threads()
    with suppress(DeviceError):
        driver = warm()
        for signature in signatures[:MOST_SIGNATURES]:
            if len(signature) > MOST_ARGUMENTS or not all(map(PLAIN_TYPE.fullmatch, signature)):
                continue
            source = SimpleNamespace(signature=dict(enumerate(signature)), constants={})
            with suppress(Exception):  # of a launcher only the compiled code is wanted, which Triton's cache has then
                driver.launcher_cls(source, SimpleNamespace())
    torch.set_num_threads(threads)  # one, as `warm` sets it, is for a process that forks


def _see_gpu(file: Path, ncu: int) -> None:
    """Wait until a file is there, and see the GPUs that it names from then on."""
    _wait_for(file, ncu)
    visible = json.loads(file.read_text())
    if visible is not None:
        os.environ[GPU_VARIABLE] = visible


def _wait_for(file: Path, ncu: int) -> None:
    """Wait until a file is there; end this process when Nsight Compute has gone, which ends with its caller.

    Args:
        file: the file.
        ncu: pid of Nsight Compute, this process's parent as long as it lives.
    """
    while not file.exists():
        if os.getppid() != ncu:
            sys.exit(1)
        time.sleep(POLL_S)


def _made_inputs(job: ProfileJob) -> tuple[Any, torch.nn.Module, tuple[Any, ...]]:
    """Load the reference, and make the model and the inputs on the GPU."""
    with torch.device("cuda"), torch.no_grad():
        reference = setup.load_reference(job.problem, job.workload)
        model = setup.make_model(reference, job.problem, seed=job.seed)
        inputs = setup.make_inputs(reference, job.problem, seed=job.seed)
    torch.cuda.synchronize()
    return reference, model, inputs


def _confine(folder: Path) -> None:
    """Let this process write below one folder only, no core dumps and no large files."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    landlock.restrict([folder], cage.device_files())


if __name__ == "__main__":
    main(sys.argv[1])
