"""Define what a run of Nsight Compute and the profiled program share: the job, and files that say whose turn it is."""

from __future__ import annotations

from pydantic import ConfigDict

from kopt.device.build.precompiled import Precompiled
from kopt.model.base import Value
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem, Workload

GPU = "gpu"
"""Name of the file, beside a job's, for which the program waits before it makes inputs on the GPU that it names."""
TURN = "turn"
"""Name of the file for which the program, with its inputs made, waits before it loads the candidate."""
READY = "ready"
"""Name of the file beside a job's that the program makes when all is done that it can do without a GPU."""
PREPARED = "prepared"
"""Name of the file that the program makes when its inputs are made."""
POLL_S = 0.005
"""Time between two looks at whether programs are ready, s."""


class ProfileJob(Value):
    """A kernel and a workload to profile."""

    kernel: Kernel
    problem: Problem
    workload: Workload
    seed: int = 0
    """Seed of the inputs."""
    compiled: tuple[Precompiled, ...] = ()
    """Kernels that the CPU stage compiled, which are loaded and not compiled again."""
    signatures: tuple[tuple[str, ...], ...] = ()
    """Types of the arguments of launches, in order: Triton 3.6 compiles a launcher for each."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
