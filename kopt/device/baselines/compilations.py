"""Keep what `torch.compile` makes of a reference: each compilation is made once for a problem, a device and versions.

max-autotune times its choices while it compiles, and chooses differently from process to process, so it is compiled
more than once, each time in a fresh process, and the fastest compilation counts on each workload.

A compilation is the caches of Inductor and Triton that belong to it: a folder during a measurement, and an archive of
this folder in the store.  A cache that does not fit is no fault: `torch.compile` then compiles anew.
"""

from __future__ import annotations

import importlib.metadata
import logging
import shutil
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

from kopt import artifact
from kopt.device.hardware.measured import MeasuredDevice
from kopt.errors import StoreError
from kopt.model.base import Value
from kopt.model.problem import Problem
from kopt.model.timing import Measured
from kopt.sandbox.environment import environment_set
from kopt.store import Key, Store

log = logging.getLogger(__name__)

MODES = {"compile": "default", "max-autotune": "max-autotune-no-cudagraphs"}
"""Modes of `torch.compile` by baseline; with CUDA graphs every call would first copy its inputs."""
COUNTS: Mapping[str, int] = {"max-autotune": 2}
"""Number of compilations of a baseline; default: one."""
PACKED = "packed"
"""Name of the file in a compilation's folder that the first process to use the folder unpacks."""
INDUCTOR, TRITON = "inductor", "triton"
"""Names of the folders of caches in a compilation's folder."""
BLOBS, SUFFIX = "compiled", ".tar.gz"
"""Kind and suffix of packed compilations in the store."""


class CompilationKey(Key):
    """One compilation of a problem's reference on its main workloads, for a kind of device and versions."""

    kind: ClassVar[str] = "compilation"
    schema_version: ClassVar[int] = 2
    determined: ClassVar[bool] = False
    problem: str
    mode: str
    number: int
    gpu: str
    driver: str
    torch: str
    triton: str


class Compilation(Value):
    """A compilation in the store."""

    packed: str
    """Digest of the packed caches."""


class Subject(NamedTuple):
    """A baseline as it is timed: a compilation of one, or eager."""

    name: str
    """The baseline's name, with a number from the second compilation on."""
    baseline: str
    """`eager`, or a key of `MODES`."""
    number: int = 0
    """Number of the compilation."""
    folder: str = ""
    """Folder of the compilation's caches; empty for eager."""


@dataclass(frozen=True)
class Compilations:
    """The compilations that one measurement uses."""

    problem: Problem
    gpu: MeasuredDevice
    store: Store | None
    """Keeps compilations; without a store they last as long as the measurement."""
    folder: Path
    """Folder of the caches, which lasts as long as the measurement."""

    def subjects(self, baselines: Sequence[str]) -> list[Subject]:
        """List what is timed for some baselines: each compilation is a subject of its own."""
        return [
            self._subject(name, number) if name in MODES else Subject(name, name)
            for name in baselines
            for number in range(_count(name))
        ]

    def missing(self, subjects: Sequence[Subject]) -> list[Subject]:
        """List the compilations that the store does not hold; those that it holds are laid into their folders."""
        return [subject for subject in subjects if subject.baseline in MODES and not self._fetch(subject)]

    def lend_kernels(self, subject: Subject) -> None:
        """Lay the kernels of the baseline's first compilation into the folder of a later one.

        The later one times its choices itself, and chooses for itself; the choices need not be compiled again.
        """
        before = Path(self._subject(subject.baseline, 0).folder)
        if subject.number:
            unpack(before)
        first = before / TRITON
        if subject.number and first.is_dir():
            try:
                shutil.copytree(first, Path(subject.folder) / TRITON, dirs_exist_ok=True)
            except (OSError, shutil.Error) as error:  # a convenience: what is missing is compiled
                log.warning("%s compiles its kernels anew: %s", subject.name, type(error).__name__)

    def keep(self, subject: Subject, packed: bytes) -> None:
        """Keep a new compilation, packed; nothing where it could not be packed."""
        log.info("%s: compiled, %d bytes", subject.name, len(packed))
        if packed and self.store is not None:
            digest = self.store.put_blob(BLOBS, packed, SUFFIX)
            self.store.shelf(Compilation).put(self._key(subject), Compilation(packed=digest))

    def _subject(self, baseline: str, number: int) -> Subject:
        name = f"{baseline} {number + 1}" if number else baseline
        folder = self.folder / name.replace(" ", "_")
        folder.mkdir(exist_ok=True)
        return Subject(name, baseline, number, str(folder))

    def _fetch(self, subject: Subject) -> bool:
        if self.store is None:
            return False
        known = self.store.shelf(Compilation).get(self._key(subject))
        if known is None:
            return False
        try:
            packed = self.store.blob(BLOBS, known.packed, SUFFIX)
        except StoreError as error:
            log.warning("%s is compiled anew: %s", subject.name, error)
            return False
        (Path(subject.folder) / PACKED).write_bytes(packed)
        log.info("%s: its compilation is in the store", subject.name)
        return True

    def _key(self, subject: Subject) -> CompilationKey:
        problem = self.problem
        contract = [problem.reference, problem.dtypes, [workload.model_dump() for workload in problem.main]]
        return CompilationKey(
            problem=artifact.digest(contract), mode=MODES[subject.baseline], number=subject.number,
            gpu=self.gpu.device.name, driver=self.gpu.driver, torch=importlib.metadata.version("torch"),
            triton=importlib.metadata.version("triton"),
        )  # fmt: skip


def subject_count(baselines: Sequence[str]) -> int:
    """Return how many subjects are timed for some baselines: each compilation is one."""
    return sum(map(_count, baselines))


def _count(baseline: str) -> int:
    return COUNTS.get(baseline, 1)


def fastest(timings: Mapping[str, Measured], subjects: Sequence[Subject]) -> dict[str, Measured]:
    """Join the times of a baseline's compilations: on each workload the fastest counts, and all medians are kept.

    Args:
        timings: times by name of kernel or subject.
        subjects: the baselines' subjects.
    """
    joined = {name: timing for name, timing in timings.items() if name not in {subject.name for subject in subjects}}
    for baseline in dict.fromkeys(subject.baseline for subject in subjects):
        compiled = [timings[s.name] for s in subjects if s.baseline == baseline and s.name in timings]
        if compiled:
            joined[baseline] = _fastest(compiled)
    return joined


def _fastest(compiled: Sequence[Measured]) -> Measured:
    if len(compiled) == 1:
        return compiled[0]
    workloads = []
    for timings in zip(*(timing.workloads for timing in compiled), strict=True):
        best = min(timings, key=lambda timing: timing.median_ms)
        medians = tuple(timing.median_ms for timing in timings)
        workloads.append(best.model_copy(update={"compilations_ms": medians}))
    return compiled[0].model_copy(update={"workloads": tuple(workloads)})


def unpack(folder: Path) -> None:
    """Lay the packed caches that lie in a compilation's folder out there, once."""
    packed = folder / PACKED
    if not packed.exists():
        return
    try:
        with tarfile.open(packed, "r:gz") as tar:
            tar.extractall(folder, filter="data")
    except (OSError, tarfile.TarError, EOFError, zlib.error) as error:
        log.warning("a kept compilation cannot be read, and is made again: %s", error)
    packed.unlink()


@contextmanager
def caches_in(folder: str) -> Iterator[None]:
    """Let Inductor and Triton keep their caches in a folder, inside the block."""
    with environment_set({"TORCHINDUCTOR_CACHE_DIR": f"{folder}/{INDUCTOR}", "TRITON_CACHE_DIR": f"{folder}/{TRITON}"}):
        yield
