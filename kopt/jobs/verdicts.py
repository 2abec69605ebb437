"""Name verdicts in the store."""

from __future__ import annotations

from kopt.jobs.builds import toolchain
from kopt.jobs.keys import VerdictKey, verdict_contract
from kopt.model.device import Device
from kopt.model.problem import Problem
from kopt.provenance import code_digest


def interpreter_key(kernel: str, problem: Problem, device: Device, seed: int) -> VerdictKey:
    """Return the key of the interpreter's verdict on the kernel with digest `kernel`."""
    return VerdictKey(
        kernel=kernel, entry=problem.seed.entry, problem=verdict_contract(problem), judge="interpret", seed=seed,
        toolchain=toolchain(device), code=code_digest("kopt.device.interpret.judge"),
    )  # fmt: skip
