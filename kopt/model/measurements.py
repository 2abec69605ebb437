"""Define the measurements of a search on a GPU as data: all that was built, judged, timed and profiled.

With these a replay needs no GPU, no compiler and not the store of the recorded run.  Rows name kernels by the digest of
their source, builds and verdicts by the names under which the recorded run's store kept them, so that the tables of a
replay equal those of the recorded run.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from kopt.model.base import Value
from kopt.model.build import Build
from kopt.model.device import Device, Toolchain
from kopt.model.diagnosis import Profile
from kopt.model.outcome import Outcome
from kopt.model.problem import ProblemFacts
from kopt.model.technique import TechniqueVector
from kopt.model.timing import Finals, Recorded
from kopt.model.verdict import Passed, Verdict

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
"""A name in a store, or none: paths of the store follow from it."""
Ms = Annotated[float, Field(gt=0)]
Plain = Annotated[str, Field(pattern=r"^[\w.+!-]{1,64}$")]
"""A name or a version, free of what a terminal would act on."""


class RecordedBuild(Value):
    """The build of one kernel."""

    kernel: Digest
    """Digest of the source."""
    name: Name
    """Name of the build in the store of the recorded run; empty for a failure that the store did not keep."""
    build: Build

    @model_validator(mode="after")
    def _texts_have_digests(self) -> Self:
        launches = (
            [launch for one in self.build.workloads for launch in one.launches] if self.build.status == "built" else []
        )
        names = [name for each in launches for name in (each.ptx, each.cubin, each.entry, each.normal_ptx) if name]
        if any(not re.fullmatch(r"[0-9a-f]{64}", name) for name in names):
            raise ValueError("a text of a build is named by something else than a digest")
        return self


class RecordedVerdict(Value):
    """The verdict on one kernel, with its time if it passed."""

    kernel: Digest
    verdict: Verdict
    time: Recorded | None
    """None unless the verdict is `passed`."""
    evaluation: Name
    """Name of the verdict in the store of the recorded run."""


class RankedTime(Value):
    """The time of one kernel in a round's ranking."""

    kernel: Digest
    time_ms: Ms
    low_ms: Ms | None
    high_ms: Ms | None
    roofline_share: float


class RecordedProfile(Value):
    """The profile of a parent; a kernel that is a parent of several rounds may have several."""

    kernel: Digest
    time_ms: Ms
    """The parent's time in its selection, ms, which tells several profiles of one kernel apart."""
    profile: Profile


class Measurements(Value):
    """The measurements of one search, in the order in which they were made."""

    judge: Literal["cuda"]
    """Name of the backend that built, judged and measured."""
    versions: dict[Plain, Plain]
    """Versions of Python and of packages with which the search ran."""
    toolchain: Toolchain
    device: Device
    facts: ProblemFacts
    baseline: Finals
    outcome: Outcome
    builds: tuple[RecordedBuild, ...]
    verdicts: tuple[RecordedVerdict, ...]
    rankings: tuple[tuple[RankedTime, ...], ...]
    """The ranking of each round, from round 0, in order of time."""
    vectors: dict[str, TechniqueVector]
    """Technique vectors by facts of source and PTX, by kernel."""
    profiles: tuple[RecordedProfile, ...]
    estimates: dict[str, float] = Field(default_factory=dict)
    """Estimated times, ms, by the name of the build; empty unless estimates screened kernels."""
    requests: dict[str, tuple[Digest, ...]] = Field(default_factory=dict)
    """Requests to language models by label (`r1a0s3`): the first one, and the one for the rest of its reply."""
    results: dict[str, str] = Field(default_factory=dict)
    """Digests of what the search ended with, by name: best kernel, trials, the selection of each round."""

    @model_validator(mode="after")
    def _is_fit_to_be_shown(self) -> Self:
        timed = [self.baseline.timings, self.outcome.finals.timings]
        workloads = [one.workload for timings in timed for timing in timings.values() for one in timing.workloads]
        for name in (self.device.name, *workloads, *(name for timings in timed for name in timings)):
            if not (name.isprintable() and 0 < len(name) <= 200):
                raise ValueError("a device, a baseline or a workload has no plain name")
        if any(isinstance(one.verdict, Passed) != (one.time is not None) for one in self.verdicts):
            raise ValueError("a kernel that passed has no time, or one that did not has one")
        return self
