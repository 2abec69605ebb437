"""The program that Nsight Compute starts: one candidate, one workload, one profiled call.

    python -m kopt.device.ncu.target JOB.json

Candidate code runs here.  The environment is clean already (`kopt.device.ncu.count`); the cage is what Nsight Compute's
own library in this process leaves possible: nothing is written but to the working directory, no new connections, no core,
no large files.  A candidate that meddles with the profile misleads its own diagnosis and nothing else: verdicts and
times never come from here.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.cuda import profiler

from kopt.device.ncu.count import ProfileJob
from kopt.device.reference import contract
from kopt.sandbox import cage, landlock

WARM_UP_CALLS = 2
"""Calls before the one that is profiled: they compile, and try an autotuner's configurations."""

FILE_BYTES = 256 << 20


def main(job_file: str) -> None:
    """Run the job."""
    job = ProfileJob.model_validate_json(Path(job_file).read_bytes())
    call = _prepared(job, Path.cwd())
    for _ in range(WARM_UP_CALLS):
        call()
    torch.cuda.synchronize()
    range_of_interest: Any = profiler  # torch does not type it
    range_of_interest.start()
    call()
    torch.cuda.synchronize()
    range_of_interest.stop()


def _prepared(job: ProfileJob, folder: Path) -> Callable[[], Any]:
    """The candidate's entry point with its arguments; inputs are made before the candidate is imported."""
    reference = contract.load_reference(job.problem, job.workload)
    with torch.device("cuda"), torch.no_grad():
        model = contract.make_model(reference, job.problem, seed=job.seed)
        inputs = contract.make_inputs(reference, job.problem, seed=job.seed)
    torch.cuda.synchronize()
    _confine(folder)
    entry = contract.load_candidate(job.kernel, folder)
    arguments = contract.bind_arguments(entry, inputs, model, reference)

    def call() -> Any:
        with torch.no_grad():
            return arguments.call(entry)

    return call


def _confine(folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    landlock.restrict([folder], cage.device_files())


if __name__ == "__main__":
    main(sys.argv[1])
