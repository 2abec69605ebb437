"""How well fingerprints tell what matters from what does not: both rates over a corpus of kernels and variants.

    python benchmarks/fingerprint.py [--kernels N] [--workers N]

Cosmetic variants must have the fingerprint of their kernel; semantic ones must differ from it and from each other.
Exits with 1 when one of either kind goes wrong.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from cosmetic_variants import cosmetic_variants
from semantic_variants import semantic_variants

from kopt.device.build.build import BuildJob, build_all
from kopt.model.build import Build, Built
from kopt.model.device import Device
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem
from kopt.problem import folder
from kopt.store import Store

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


@dataclass(frozen=True)
class Subject:
    """One kernel of the corpus."""

    name: str
    problem: Problem
    source: str


@dataclass(frozen=True)
class Rates:
    """What came out."""

    cosmetic: int
    merged: int
    semantic: int
    apart: int
    faults: tuple[str, ...]


def corpus() -> list[Subject]:
    """The shipped seeds and the kernels of `fingerprint_corpus` (named `<problem>__<what>.py`)."""
    problems = {path.name: folder.load(path) for path in sorted((ROOT / "config/problems").iterdir()) if path.is_dir()}
    seeds = [Subject(name, problem, problem.seed.source) for name, problem in problems.items()]
    own = sorted((HERE / "fingerprint_corpus").glob("*__*.py"))
    return seeds + [Subject(path.stem, problems[path.stem.partition("__")[0]], path.read_text()) for path in own]


def measure(subjects: Sequence[Subject], device: Device, workers: int) -> Rates:
    """Build every kernel and variant, and compare."""
    labels, jobs = [], []
    for subject in subjects:
        kernels = [("", "kernel", Kernel(source=subject.source))]
        kernels += [("cosmetic", name, kernel) for name, kernel in cosmetic_variants(subject.source).items()]
        kernels += [("semantic", name, kernel) for name, kernel in semantic_variants(subject.source).items()]
        for kind, name, kernel in kernels:
            labels.append((subject.name, kind, name))
            jobs.append(BuildJob(kernel=kernel, problem=subject.problem, device=device))
    with tempfile.TemporaryDirectory() as scratch:
        builds = dict(build_all(jobs, store=Store(Path(scratch)), workers=workers))
    return compare({label: builds[index] for index, label in enumerate(labels)})


def compare(builds: dict[tuple[str, str, str], Build]) -> Rates:
    """Rates over builds by (kernel, kind, variant)."""
    faults: list[str] = []
    counts = {"cosmetic": 0, "semantic": 0}
    right = {"cosmetic": 0, "semantic": 0}
    seen: dict[tuple[str, str], str] = {}
    for (subject, kind, name), build in builds.items():
        place = f"{subject}: {kind} {name}"
        if kind:
            counts[kind] += 1
        if not isinstance(build, Built):
            faults.append(f"{place} was not built: {build.phase}: {build.reason}")
            continue
        other = seen.get((subject, build.fingerprint))
        if kind == "cosmetic" and other != "kernel":
            faults.append(f"{place} does not merge")
        elif kind == "semantic" and other is not None:
            faults.append(f"{place} merges with {other}")
        elif kind:
            right[kind] += 1
        seen.setdefault((subject, build.fingerprint), name)
    return Rates(counts["cosmetic"], right["cosmetic"], counts["semantic"], right["semantic"], tuple(faults))


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernels", type=int, default=None, help="only the first N kernels")
    parser.add_argument("--only", default="", help="only kernels whose name contains this")
    parser.add_argument("--workers", type=int, default=2, help="builds at a time")
    arguments = parser.parse_args()
    device = Device.model_validate(yaml.safe_load((ROOT / "config/devices/h100.yaml").read_text()))
    subjects = [subject for subject in corpus() if arguments.only in subject.name][: arguments.kernels]
    started = time.monotonic()
    rates = measure(subjects, device, arguments.workers)
    for fault in rates.faults:
        print(fault)
    print(f"{len(subjects)} kernels, {time.monotonic() - started:.0f} s")
    print(f"cosmetic variants that merge with their kernel: {rates.merged} of {rates.cosmetic}")
    print(f"semantic variants with a fingerprint of their own: {rates.apart} of {rates.semantic}")
    return 1 if rates.faults else 0


if __name__ == "__main__":
    sys.exit(main())
