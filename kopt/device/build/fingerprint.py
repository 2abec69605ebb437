"""Fingerprint a build: equal for candidates that do the same, whatever their names and their source text.

SHA-256 over toolchain and, for every main workload: each launch call with its normalised PTX, grid, launch options
that PTX does not carry, specialisation and arguments by position (of a tensor what it points at), the fills and copies
around the launches with their place among them, and what is returned.  Names of arguments, compile-time constants,
views and allocations do not count, since what they change shows in the rest.  The configurations of one autotuned call
are a set.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
import triton

from kopt import artifact
from kopt.model.build import HostOp, Launch, WorkloadBuild
from kopt.model.device import Device, Toolchain

SCHEMA_VERSION = 1
"""Raised when the meaning of a fingerprint changes."""

SURROUNDINGS = ("fill", "copy")
"""Kinds of host operations that do something on the device."""


def toolchain(device: Device) -> Toolchain:
    """Return the versions that a build for `device` depends on."""
    return Toolchain(torch=torch.__version__.partition("+")[0], triton=triton.__version__, arch=device.arch)


def fingerprint(workloads: Sequence[WorkloadBuild], tools: Toolchain) -> str:
    """Return the SHA-256, in hexadecimal, over what a candidate does on its workloads."""
    content = {
        "version": SCHEMA_VERSION,
        "toolchain": tools.model_dump(mode="json"),
        "workloads": [_workload(workload) for workload in workloads],
    }
    return artifact.digest(content)


def _workload(build: WorkloadBuild) -> dict[str, object]:
    calls = [_call(list(group)) for _, group in groupby(build.launches, key=lambda launch: launch.call)]
    surroundings = [_host_op(operation) for operation in build.host_ops if operation.kind in SURROUNDINGS]
    return {"calls": calls, "host": surroundings, "output": build.output}


def _call(launches: Sequence[Launch]) -> list[str]:
    return sorted({artifact.canonical_json(_launch(launch)) for launch in launches})


def _launch(launch: Launch) -> dict[str, object]:
    specialisation, arguments, pointers = (
        dict(launch.specialisation), dict(launch.arguments), dict(launch.pointers),
    )  # fmt: skip
    runtime = [(name, kind) for name, kind in launch.signature if kind != "constexpr"]
    return {
        "ptx": launch.normal_ptx,
        "grid": list(launch.grid),
        "options": [list(option) for option in launch.options],
        "shared": launch.shared_bytes,
        "arguments": [
            [kind, specialisation.get(name, ""), pointers.get(name) or arguments.get(name, "")]
            for name, kind in runtime
        ],
        "trial": launch.trial,
    }  # fmt: skip


def _host_op(operation: HostOp) -> list[object]:
    return [operation.name, list(operation.pointers), list(operation.scalars), operation.before]
