"""Profile parents on a GPU: read hardware counters, or profile by build and time where no counter can be read."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kopt.backends.backend import ProfiledParent, Profiler
from kopt.backends.cuda_judge import Records
from kopt.backends.estimates import estimate_time
from kopt.backends.static_profile import profile_without_counters
from kopt.device.cuda.environment import environment, environments, of_any_such_gpu
from kopt.device.hardware.measured import MeasuredDevice
from kopt.jobs.builds import built_named
from kopt.jobs.kernels import kernel_named
from kopt.jobs.keys import ProfileKey, build_contract
from kopt.jobs.on_gpu import check_same, leased
from kopt.jobs.target import ProblemOnTarget
from kopt.model.base import Value
from kopt.model.build import Built
from kopt.model.device import Device
from kopt.model.diagnosis import Profile
from kopt.model.environment import Environment
from kopt.model.options import JudgeOptions
from kopt.model.timing import times_by_workload
from kopt.model.trial import SelectionRow
from kopt.provenance import code_digest
from kopt.search.diagnose import slowest

if TYPE_CHECKING:
    from kopt.device.ncu.job import ProfileJob
    from kopt.device.ncu.outcome import Counted, NotCounted

log = logging.getLogger(__name__)

SPACE = 8
"""Memory that a parent's inputs and results, and making them, are reckoned to take, as a multiple of their bytes."""
CSV = "counters"
"""Kind of Nsight Compute's tables in the store."""


class Counters(Value):
    """A profile in the store, with the table that it was made from."""

    profile: Profile
    csv: str
    """Digest of the table."""


def profile_by_counters(target: ProblemOnTarget, options: JudgeOptions, *, seconds: float) -> Profiler:
    """Make a profiler that reads counters on the workload furthest above its floor; known counters are not read again.

    Args:
        target: the problem, and the device that the kernels were built for.
        options: how the parents were judged; their times are stored under these options.
        seconds: wall-clock limit of Nsight Compute for one parent, s.
    """

    def profile(rows: Sequence[SelectionRow]) -> list[ProfiledParent]:
        parents = [ParentOnGpu(row, target, options) for row in rows]
        counters: dict[int, Counters | Profile] = {
            at: known for at, parent in enumerate(parents) if (known := parent.stored()) is not None
        }
        log.info("%d parents: counters of %d are known", len(parents), len(counters))
        missing = [at for at in range(len(parents)) if at not in counters]
        if missing:
            from kopt.device.ncu.count import Counting

            unread = [parents[at] for at in missing]
            with Counting([parent.profile_job() for parent in unread]) as counting:
                counting.wait()
                with leased(target.store, wait_s=options.measuring.gpu_wait_seconds) as device:
                    check_same(device, target.device)
                    if all(parent.is_small(device.device) for parent in unread):
                        counting.prepare(seconds)
                    outcomes = zip(unread, counting.each(seconds), strict=True)
                    counted = [parent.keep(one, device) for parent, one in outcomes]
            counters |= zip(missing, counted, strict=True)
        return [parent.profiled(counters[at]) for at, parent in enumerate(parents)]

    return profile


class ParentOnGpu:
    """One parent, to be profiled on one of the visible GPUs."""

    def __init__(self, row: SelectionRow, target: ProblemOnTarget, options: JudgeOptions) -> None:
        self._row, self._problem, self._facts, self._store = row, target.problem, target.facts, target.store
        self._options = options
        self._timing = Records(target, options, environments()).timing_on_any(row)
        name = slowest(self._timing)[0] if self._timing else target.problem.main[0].name
        self._workload = next(workload for workload in target.problem.main if workload.name == name)

    def stored(self) -> Counters | None:
        """Look up the counters that were read on one of the visible GPUs, else on another GPU of that name."""
        shelf, here = self._store.shelf(Counters), environments()
        stored = (shelf.get(self._key(where)) for where in (*here, *dict.fromkeys(map(of_any_such_gpu, here))))
        return next((counters for counters in stored if counters is not None), None)

    def profiled(self, counters: Counters | Profile) -> ProfiledParent:
        """Return the profile, with the table of counters if there is one."""
        if isinstance(counters, Profile):
            return ProfiledParent(counters)
        times = times_by_workload(self._timing) if self._timing is not None else {}
        profile = counters.profile.model_copy(update={"workload": self._workload.name, "times_ms": times})
        return ProfiledParent(profile, self._store.text(CSV, counters.csv, ".csv"))

    def is_small(self, device: Device) -> bool:
        """Return whether the inputs of two such parents, with what making them takes, fit into the device's memory."""
        own = [facts for facts in self._facts.workloads if facts.workload == self._workload.name]
        return 2 * SPACE * sum(facts.input_bytes + facts.output_bytes for facts in own) <= device.memory_bytes

    def profile_job(self) -> ProfileJob:
        """Make the job that reads the counters."""
        from kopt.device.build.precompiled import compiled
        from kopt.device.ncu.job import ProfileJob

        built = built_named(self._row.build, self._store)
        return ProfileJob(
            kernel=kernel_named(self._row.kernel, self._problem, self._store), problem=self._problem,
            workload=self._workload, seed=self._options.seed, compiled=compiled(built, self._store).kernels,
            signatures=_signatures(built, self._workload.name),
        )  # fmt: skip

    def keep(self, counted: Counted | NotCounted, device: MeasuredDevice) -> Counters | Profile:
        """Store counters with the profile made of them.

        Returns:
            The counters; where they cannot be read a profile without them, with the reason, which is not stored.
        """
        counters = self._with_profile(counted, self._static(device.device), device.device)
        if isinstance(counters, Profile):
            return counters
        here = environment(device.device.name, device.uuid, device.driver)
        shelf = self._store.shelf(Counters)
        shelf.put(self._key(of_any_such_gpu(here)), counters)
        return shelf.put(self._key(here), counters)

    def _static(self, device: Device) -> Profile:
        row, facts, store = self._row, self._facts, self._store
        if self._timing is not None:
            return profile_without_counters(row, self._timing, facts, device, store)
        static = profile_without_counters(row, estimate_time(row.build, facts, device, store), facts, device, store)
        return static.model_copy(update={"notes": (*static.notes, "the time is an estimate")})

    def _key(self, where: Environment) -> ProfileKey:
        return ProfileKey(
            kernel=self._row.kernel, entry=self._problem.seed.entry, build=self._row.build,
            problem=build_contract(self._problem), workload=self._workload.name, environment=where,
            code=code_digest("kopt.device.ncu.count") + code_digest("kopt.device.ncu.profile"),
        )  # fmt: skip

    def _with_profile(self, counted: Counted | NotCounted, static: Profile, device: Device) -> Counters | Profile:
        from kopt.device.ncu.outcome import NotCounted
        from kopt.device.ncu.profile import counters_profile, foreign_kernels

        if isinstance(counted, NotCounted):
            log.warning("no counters of %s: %s", self._row.origin, counted.note)
            return static.model_copy(update={"notes": (*static.notes, counted.note)})
        (facts,) = (workload for workload in self._facts.workloads if workload.workload == self._workload.name)
        profile = counters_profile(counted, static, facts, device, self._problem.dtype)
        foreign = foreign_kernels(counted, self._launched())
        if foreign:
            note = f"it also ran kernels that are not its own: {', '.join(foreign)}"
            log.warning("%s: %s", self._row.origin, note)
            profile = profile.model_copy(update={"notes": (*profile.notes, note)})
        return Counters(profile=profile, csv=self._store.put_text(CSV, counted.csv, ".csv"))

    def _launched(self) -> set[str]:
        """Return the names of the kernels that the CPU stage saw launched."""
        built = built_named(self._row.build, self._store)
        return {launch.kernel for workload in built.workloads for launch in workload.launches}


def _signatures(built: Built, workload: str) -> tuple[tuple[str, ...], ...]:
    """Return the types of the arguments of a workload's launches, each once."""
    launches = [launch for one in built.workloads if one.workload == workload for launch in one.launches]
    return tuple(dict.fromkeys(tuple(kind for _, kind in launch.signature) for launch in launches))
