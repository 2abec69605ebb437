"""Make a certificate of a win from a run, and measure again what a certificate claims.

1. `claim_of` takes from a finished run what its last measurement showed: the kernel, the reference, workloads, checks,
   times with intervals, environment and digests.
2. `measured_again` builds, verifies and times the kernel of a certificate on this machine, beside the same baseline.

A certificate may come from anywhere: its kernel runs as a candidate does, in the cage, and `kopt verify-claim` confines
the whole measurement, since its reference is code too.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import JsonValue, ValidationError

from kopt.artifact import digest, read_plain, text_digest
from kopt.backends.backend import load_backend
from kopt.commands.parts.arguments import DEFAULTS
from kopt.commands.parts.one_kernel import START_S
from kopt.config import Config
from kopt.errors import ConfigError, CorruptArtifact, NothingPasses
from kopt.jobs.builds import build_key
from kopt.jobs.kernels import kernel_source, put_kernel
from kopt.jobs.target import ProblemOnTarget
from kopt.model.base import Value
from kopt.model.build import Build, BuildFailed
from kopt.model.device import Device
from kopt.model.environment import Environment
from kopt.model.kernel import Kernel
from kopt.model.options import JudgeOptions
from kopt.model.outcome import BEST, SEED
from kopt.model.problem import Problem, ProblemFacts
from kopt.model.timing import Finals, Measured
from kopt.model.trial import SelectionRow
from kopt.model.verdict import Passed
from kopt.provenance import versions
from kopt.report.numbers import PYTORCH
from kopt.run.started import Started
from kopt.run.value import Run
from kopt.run_settings import RunSettings
from kopt.sandbox.environment import NO_GPU
from kopt.sandbox.fresh import run_in_fresh_process, run_with_environment
from kopt.statistics import measured_ratio
from kopt.store import Store

MOST_BYTES = 64 << 20
"""Largest certificate that is read."""
OUTCOME_S = 3600.0
"""Longest time of a measurement with `torch.compile`'s own tuning, beside the wait for a GPU, s."""


class Win(Value):
    """By how much a kernel is faster than what it was measured beside."""

    kernel_ms: float
    """Objective: geometric mean over the main workloads."""
    kernel_low_ms: float
    """Lower end of its 95 % interval."""
    kernel_high_ms: float
    baseline_ms: float
    speedup: float
    """Median ratio of the baseline's time to the kernel's, call by call; above 1 the kernel is faster."""
    low: float
    """Lower end of its 95 % interval."""
    high: float

    @property
    def holds(self) -> bool:
        """Whether the kernel is faster beyond the noise of the measurement."""
        return self.low > 1


class Claim(Value):
    """A certificate of a win."""

    schema_version: Literal[1] = 1
    statement: str
    """The claim in words."""
    run: str
    candidate: str
    """Name of the first candidate with the kernel."""
    command: tuple[str, ...]
    """Command line of the search; empty where it is not recorded."""
    configuration: dict[str, JsonValue]
    """The run's settings."""
    problem: Problem
    """Reference, workloads and tolerances; the judge needs nothing else."""
    kernel: Kernel
    baseline: str
    """The kernel or the way of PyTorch that it beats: `eager`, `compile`, `max-autotune` or `seed`."""
    win: Win
    judging: JudgeOptions
    """Options with which it was verified and timed."""
    verdict: Passed
    """With every check of the last verification."""
    times: dict[str, Measured]
    """Samples, intervals, environment and the device's state: of the kernel (`best`) and the baseline."""
    versions: dict[str, str]
    digests: dict[str, str]
    """SHA-256 of `problem`, `kernel`, and the `certificate` without this entry."""

    @property
    def environment(self) -> Environment | None:
        """GPU, driver and versions of the measurement."""
        return self.times[BEST].environment

    @property
    def device(self) -> str:
        """Name of the GPU of the measurement."""
        return self.times[BEST].device


class Verified(Value):
    """The result of measuring a claim again on this machine."""

    holds: bool
    reason: str
    """Why, in one line."""
    statement: str
    claimed: Win
    claimed_on: str
    """Name of the GPU of the claim."""
    measured: Win | None
    """None where the kernel did not build or did not pass."""
    measured_on: str
    checks: int
    """Comparisons in which the kernel was verified anew."""


def win_of(finals: Finals, baseline: str) -> Win:
    """Compare the best kernel's time with a baseline's, which were measured side by side."""
    kernel, other = finals.timings[BEST], finals.timings[baseline]
    ratio = measured_ratio(other, kernel)
    low, high = kernel.interval_ms
    return Win(
        kernel_ms=kernel.objective_ms, kernel_low_ms=low, kernel_high_ms=high, baseline_ms=other.objective_ms,
        speedup=ratio.middle, low=ratio.low, high=ratio.high,
    )  # fmt: skip


def claim_of(run: Run, store: Store, *, against: str | None = None, started: Started | None = None) -> Claim:
    """Make the certificate of a run's win.

    Args:
        run: the finished run.
        store: its store.
        against: what the kernel is to beat; None: the fastest of PyTorch's ways that were measured beside it.
        started: how the run was started, if that is known.

    Raises:
        ConfigError: nothing was measured, or the kernel is not faster beyond noise.
        StoreError: the kernel's source is not in the store, or no longer.
    """
    refuse_estimates(run.name, run.config)
    if run.outcome is None:
        raise ConfigError(f"the run {run.name} has no last measurement: let it end, then claim its win")
    finals = run.outcome.finals
    baseline = against or _fastest(finals)
    if baseline not in finals.timings or baseline == BEST:
        known = ", ".join(name for name in finals.timings if name != BEST)
        raise ConfigError(f"the run {run.name} was not measured beside {baseline}: --against takes {known}")
    win = win_of(finals, baseline)
    named = PYTORCH.get(baseline, f"the {baseline} kernel")
    if not win.holds:
        raise ConfigError(
            f"the best kernel of {run.name} is not faster than {named} beyond noise ({win.speedup:.3f}x, 95 % interval "
            f"{win.low:.3f} to {win.high:.3f}): there is no win to claim"
        )
    verdict = finals.verdicts[BEST]
    assert isinstance(verdict, Passed)
    kernel = run.problem.seed.with_source(kernel_source(run.best.kernel, store))
    claim = Claim(
        statement=f"On {finals.timings[BEST].device}, the kernel is {win.speedup:.3f}x as fast as {named} on "
        f"{run.problem.name} (95 % interval {win.low:.3f} to {win.high:.3f}), and its results are right.",
        run=run.name, candidate=run.best.name, command=started.words if started else (),
        configuration=run.config.model_dump(mode="json"), problem=run.problem, kernel=kernel, baseline=baseline,
        win=win, judging=RunSettings(run.config).judging, verdict=verdict,
        times={name: finals.timings[name] for name in (BEST, baseline)}, versions=versions(), digests={},
    )  # fmt: skip
    return claim.model_copy(update={"digests": digests_of(claim)})


def refuse_estimates(name: str, config: Config) -> None:
    """Refuse a run whose times were not measured.

    Raises:
        ConfigError: one line that says what its times are.
    """
    settings = RunSettings(config)
    if settings.backend.startswith("dry"):
        raise ConfigError(f"the run {name} judged nothing ({settings.backend}): its times are made up")
    if settings.replayed:
        raise ConfigError(f"the run {name} is a replay: its times were measured elsewhere; claim the recorded run")
    if not settings.measures:
        raise ConfigError(
            f"the run {name} was judged without a GPU ({settings.backend}): its times are estimates, and an estimate "
            "is no claim; search on a GPU (judge=cuda)"
        )


def _fastest(finals: Finals) -> str:
    ways = {name: timing.objective_ms for name, timing in finals.timings.items() if name in PYTORCH}
    if not ways:
        raise ConfigError(
            "none of PyTorch's ways was measured beside the best kernel: name what it beats, --against seed"
        )
    return min(ways, key=lambda name: ways[name])


def digests_of(claim: Claim) -> dict[str, str]:
    """Return the digests that a certificate must have."""
    return {
        "problem": digest(claim.problem),
        "kernel": text_digest(claim.kernel.source),
        "certificate": digest(claim.model_dump(mode="json", exclude={"digests"})),
    }


def read_claim(path: Path) -> Claim:
    """Read a certificate and check that it agrees with itself.

    Raises:
        CorruptArtifact: the file is no certificate, or was altered.
    """
    if path.stat().st_size > MOST_BYTES:
        raise CorruptArtifact(f"{path} is too large for a certificate of kopt claim")
    try:
        claim = Claim.model_validate_json(read_plain(path))
    except (ValidationError, RecursionError) as error:
        raise CorruptArtifact(f"{path} is no certificate that kopt claim wrote") from error
    wrong = [name for name, value in digests_of(claim).items() if claim.digests.get(name) != value]
    finite = all(math.isfinite(value) and value > 0 for value in claim.win.model_dump().values())
    if wrong or not finite or not {BEST, claim.baseline} <= set(claim.times):
        raise CorruptArtifact(f"{path} was altered after kopt claim wrote it ({', '.join(wrong) or 'its figures'})")
    return claim


def measured_again(claim: Claim, backend: str, store: Store, *, wait_s: float) -> Verified:
    """Build, verify and time the kernel of a certificate on this machine, beside the baseline that it claims to beat.

    The inputs are drawn from a seed that nobody could know when the certificate was written.  Each step has a process
    of its own: the compiler must not see a GPU, and the judge must find CUDA unused.

    Args:
        claim: the certificate.
        backend: name of the backend that measures, `cuda`.
        store: an empty store, so that nothing is taken from an earlier measurement.
        wait_s: longest wait for a GPU, s.

    Raises:
        DeviceError: there is no GPU, or it broke.
        ProblemError: the problem cannot be judged.
        WorkerDied: a process of kopt broke.
    """
    device = load_backend(backend).device(store, wait_s)
    build_s = 2 * DEFAULTS.limits.build_seconds + START_S
    facts, build = run_with_environment(NO_GPU, build_s, _facts_and_build, claim, backend, device, store.root)
    if isinstance(build, BuildFailed):
        return _verified(claim, device.name, f"the kernel does not build: {build.phase}, {build.reason}")
    row = SelectionRow(
        kernel=put_kernel(claim.kernel.source, store), fingerprint=build.fingerprint, origin=claim.candidate,
        model="claim", time_ms=claim.win.kernel_ms, estimated=False, roofline_share=claim.times[BEST].roofline_share,
        rank=0, techniques=(), cluster="",
    )  # fmt: skip
    options = _options(wait_s)
    beside = () if claim.baseline == SEED else (claim.baseline,)
    try:
        finals = run_in_fresh_process(
            wait_s + OUTCOME_S,
            _finals,
            row,
            ProblemOnTarget(claim.problem, facts, device, store),
            options,
            beside,
            backend,
        )
    except NothingPasses:
        return _verified(claim, device.name, "the kernel does not pass when it is verified on new inputs")
    win, verdict = win_of(finals, claim.baseline), finals.verdicts[BEST]
    checks = len(verdict.checks) if isinstance(verdict, Passed) else 0
    compared = f"{win.speedup:.3f}x (95 % interval {win.low:.3f} to {win.high:.3f})"
    named = PYTORCH.get(claim.baseline, f"the {claim.baseline} kernel")
    reason = f"{'faster than' if win.holds else 'not faster than'} {named} beyond noise: {compared}"
    return _verified(claim, device.name, reason, win, checks)


def _facts_and_build(claim: Claim, backend: str, device: Device, store: Path) -> tuple[ProblemFacts, Build]:
    """Count the problem's work, and build the kernel and the seed kernel, in a process that sees no GPU."""
    kept, loaded = Store(store), load_backend(backend)
    facts = loaded.facts(claim.problem, kept)
    target = ProblemOnTarget(claim.problem, facts, device, kept)
    kernels = [claim.kernel, claim.problem.seed]
    builds = loaded.build(target, workers=len(kernels), seconds=DEFAULTS.limits.build_seconds)(kernels)
    for place, kernel in enumerate(kernels):
        kept.shelf(Build).put(build_key(text_digest(kernel.source), claim.problem, device), builds[place])
    return facts, builds[0]


def _finals(
    row: SelectionRow, target: ProblemOnTarget, options: JudgeOptions, baselines: Sequence[str], backend: str
) -> Finals:
    """Measure the kernel, the seed kernel and the baseline side by side."""
    return load_backend(backend).outcome([row], target, options, baselines).finals


def _options(wait_s: float) -> JudgeOptions:
    """Return the default options of the judge with a new random seed; options in the certificate are not trusted."""
    options = RunSettings(Config(judge="cuda")).judging
    measure = options.measuring.model_copy(update={"gpu_wait_seconds": wait_s})
    return options.model_copy(update={"measure": measure, "seed": int.from_bytes(os.urandom(4), "big")})


def _verified(claim: Claim, device: str, reason: str, win: Win | None = None, checks: int = 0) -> Verified:
    return Verified(
        holds=win is not None and win.holds, reason=reason, statement=claim.statement, claimed=claim.win,
        claimed_on=claim.device, measured=win, measured_on=device, checks=checks,
    )  # fmt: skip


def verified_lines(verified: Verified) -> list[str]:
    """Write for a terminal what became of a claim, with both figures."""
    rows = [("claimed", verified.claimed, verified.claimed_on), ("measured", verified.measured, verified.measured_on)]
    lines = [f"{'holds' if verified.holds else 'does not hold':<14} {verified.reason}"]
    lines += [
        f"{name:<14} {win.speedup:.3f}x [{win.low:.3f}, {win.high:.3f}], kernel {win.kernel_ms:.4f} ms "
        f"[{win.kernel_low_ms:.4f}, {win.kernel_high_ms:.4f}], baseline {win.baseline_ms:.4f} ms, {where}"
        if win is not None
        else f"{name:<14} nothing, on {where}"
        for name, win, where in rows
    ]
    return [*lines, *([f"{'verified':<14} in {verified.checks} checks on new inputs"] if verified.checks else [])]
