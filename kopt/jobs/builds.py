"""Find builds in the store, by kernel or by the digest of a build's key."""

from __future__ import annotations

import importlib.metadata

from kopt.artifact import text_digest
from kopt.errors import StoreError
from kopt.jobs.keys import BuildKey, FurtherKey, build_contract, build_target, further_contract
from kopt.model.build import Build, Built, FurtherKernels
from kopt.model.device import Device, Toolchain
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem
from kopt.provenance import package_digest
from kopt.store import Store


def build_key(kernel: str, problem: Problem, device: Device) -> BuildKey:
    """Return the key of the build of the kernel with digest `kernel`."""
    return BuildKey(
        kernel=kernel, entry=problem.seed.entry, problem=build_contract(problem), device=build_target(device),
        toolchain=toolchain(device), screen=package_digest("kopt.device.screen"),
    )  # fmt: skip


def further_key(kernel: str, problem: Problem, device: Device) -> FurtherKey:
    """Return the key of what was compiled for the workloads beside the main ones of the kernel with digest `kernel`."""
    return FurtherKey(
        kernel=kernel, entry=problem.seed.entry, problem=further_contract(problem), device=build_target(device),
        toolchain=toolchain(device),
    )  # fmt: skip


def known_further(kernel: Kernel, problem: Problem, device: Device, store: Store) -> FurtherKernels:
    """Look up what was compiled of a kernel for the workloads beside the main ones; empty where nothing was."""
    known = store.shelf(FurtherKernels).get(further_key(text_digest(kernel.source), problem, device))
    return known or FurtherKernels()


def known_build(kernel: Kernel, problem: Problem, device: Device, store: Store) -> Built | None:
    """Look up a kernel's build; None where the store holds no successful build."""
    build = store.shelf(Build).get(build_key(text_digest(kernel.source), problem, device))
    return build if isinstance(build, Built) else None


def built_named(build: str, store: Store) -> Built:
    """Return the build whose key has the digest `build`, as tables name builds.

    Raises:
        StoreError: the build is not in the store, or no longer.
    """
    built = store.shelf(Build).named(BuildKey, build)
    if not isinstance(built, Built):
        raise StoreError(f"build {build[:12]} is not in the store {store.root}: delete the run's folder and run again")
    return built


def toolchain(device: Device) -> Toolchain:
    """Return the versions that builds depend on; torch and Triton are not imported."""
    return Toolchain(
        torch=importlib.metadata.version("torch"), triton=importlib.metadata.version("triton"), arch=device.arch
    )
