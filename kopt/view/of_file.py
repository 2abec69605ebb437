"""Collect what is known of a kernel in a file: build it here, without a GPU; nothing is judged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kopt.backends.problem_facts import facts_of
from kopt.backends.triton_builder import build_with_triton
from kopt.model.build import Build, BuildFailed, Built
from kopt.model.device import Device
from kopt.model.problem import Problem, ProblemFacts
from kopt.model.technique import Technique
from kopt.sandbox.environment import NO_GPU
from kopt.sandbox.fresh import run_with_environment
from kopt.store import Store
from kopt.view.kernel import (
    KernelView,
    estimate_of,
    estimated_times,
    evidence_of,
    instruction_counts,
    launch_views,
    source_facts,
)

START_S = 60.0
"""Most time of a fresh process beside the limit of its build, s."""


def view_of_source(
    label: str, source: str, problem: Problem, device: Device, taxonomy: Sequence[Technique], store: Store,
    *, seconds: float,
) -> KernelView:  # fmt: skip
    """Build a kernel and collect what follows from its source and its build.

    Args:
        label: the word that named the kernel.
        source: its text.
        problem: the problem that it is a kernel of.
        device: the device to build and estimate for.
        taxonomy: the techniques to look for.
        store: keeps PTX and cubin.
        seconds: limit of the build, s.

    Raises:
        ProblemError: the problem cannot be judged.
        WorkerDied: a process of kopt broke.
    """
    build, facts = run_with_environment(
        NO_GPU, seconds + START_S, _build_and_facts, problem, source, device, store.root, seconds
    )
    estimate = estimate_of(build, facts, device, store)
    evidence = evidence_of(source, build, taxonomy, device, store)
    return KernelView(
        label=label,
        name="",
        source=source,
        facts=source_facts(source, build),
        build_failure=build.reason if isinstance(build, BuildFailed) else "",
        fingerprint=build.fingerprint if isinstance(build, Built) else "",
        launches=launch_views(build, device),
        instructions=instruction_counts(build, store),
        evidence=evidence,
        techniques=tuple(one.technique for one in evidence),
        verdict="not judged" if isinstance(build, Built) else "failed",
        phase=build.phase if isinstance(build, BuildFailed) else "",
        reason=build.reason if isinstance(build, BuildFailed) else "",
        ms=estimate.objective_ms if estimate else None,
        roofline_share=estimate.roofline_share if estimate else None,
        times=estimated_times(estimate),
    )


def view_of_text(label: str, source: str) -> KernelView:
    """Collect what follows from a kernel's source alone, where its problem is not known."""
    return KernelView(label=label, name="", source=source, facts=source_facts(source), verdict="not judged")


def _build_and_facts(
    problem: Problem, source: str, device: Device, store: Path, seconds: float
) -> tuple[Build, ProblemFacts]:
    root = Store(store)
    build_all = build_with_triton(problem, device, root, workers=1, seconds=seconds)
    return build_all([problem.seed.with_source(source)])[0], facts_of(problem, root)
