"""Build and judge nothing, like `dry`, in the DAG of a run on GPUs: jobs ask for GPUs and lease made-up ones.

This backend tries scheduling, clusters and every branch of a run on GPUs on a machine without a GPU.  The environment
variable `CUDA_VISIBLE_DEVICES` names the made-up GPUs, by any names; without the variable there are four.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

from kopt.artifact import digest
from kopt.backends import dry
from kopt.backends.backend import Backend, Judge, ProfiledParent, Profiler, Rivals
from kopt.jobs.target import ProblemOnTarget
from kopt.model.device import Device
from kopt.model.judged import Judged, JudgedRight
from kopt.model.options import FinalsOptions, JudgeOptions, MeasureOptions
from kopt.model.outcome import BEST, SEED, Outcome
from kopt.model.timing import Finals, Measured, WorkloadTiming
from kopt.model.trial import BuildRow, RankRow, SelectionRow
from kopt.model.verdict import Passed
from kopt.sandbox.environment import GPU_VARIABLE
from kopt.store import Store

COUNT = 4
"""Number of made-up GPUs where the environment names none."""

NAME = "made-up GPU"

PASSED = Passed(judge="dry", checks=())

FLOOR_MS = 0.5


def judge(target: ProblemOnTarget, options: JudgeOptions, *, rivals: Rivals, workers: int) -> Judge:
    """Make a judge that leases a made-up GPU and passes every kernel, with a made-up time."""

    def judge_rows(rows: Sequence[BuildRow]) -> Mapping[int, Judged]:
        with leased(options.measuring):
            times = {row.slot: dry.made_up_time(row.kernel, target.device) for row in rows}
            return {slot: JudgedRight(verdict=PASSED, timing=time) for slot, time in times.items()}

    return judge_rows


def rank(
    pool: Sequence[RankRow], target: ProblemOnTarget, options: FinalsOptions | None, *, round: int
) -> list[RankRow]:
    """Lease a made-up GPU, and return the pool unchanged."""
    assert options is not None
    with leased(options.judging.measuring):
        return list(pool)


def profile(target: ProblemOnTarget, options: JudgeOptions, *, seconds: float) -> Profiler:
    """Make a profiler that leases a made-up GPU and returns no profile."""

    def profile_parents(rows: Sequence[SelectionRow]) -> list[ProfiledParent]:
        with leased(options.measuring):
            return [ProfiledParent(None)] * len(rows)

    return profile_parents


def device(store: Store, wait_s: float) -> Device:
    """Describe a made-up GPU."""
    with lease_made_up(wait_s):
        return Device(
            name=NAME, arch=90, sm_count=132, shared_bytes_per_block=232448, shared_bytes_per_sm=233472,
            l2_bytes=50 << 20, memory_bytes=80 << 30, sm_clock_mhz=1980, copy_gb_s=3000.0, vector_tflop_s=60.0,
            measured=False,
        )  # fmt: skip


def baseline(target: ProblemOnTarget, options: JudgeOptions, baselines: Sequence[str]) -> Finals:
    """Make up times of the seed kernel and the baselines."""
    with leased(options.measuring):
        return _finals({SEED: target.problem.seed.source}, baselines)


def outcome(
    selection: Sequence[SelectionRow], target: ProblemOnTarget, options: JudgeOptions, baselines: Sequence[str]
) -> Outcome:
    """Make up times of the best kernel, the seed kernel and the baselines."""
    best = min(selection, key=lambda row: row.time_ms)
    with leased(options.measuring):
        return Outcome(best=best, finals=_finals({BEST: best.kernel, SEED: target.problem.seed.source}, baselines))


def made_up(kernel: str) -> Measured:
    """Make up a measurement between 1 and 2 ms from a text's digest."""
    ms = 1.0 + int(digest(kernel)[:8], 16) / 2**32
    samples = tuple(ms * (1 + 0.001 * step) for step in range(-2, 3))
    workload = WorkloadTiming(
        workload="dry", median_ms=ms, low_ms=samples[1], high_ms=samples[-2], samples_ms=samples, floor_ms=FLOOR_MS
    )
    return Measured(device=NAME, workloads=(workload,))


def leased(options: MeasureOptions) -> AbstractContextManager[object]:
    """Lease a made-up GPU as a job on a real one does."""
    return lease_made_up(options.gpu_wait_seconds)


@contextmanager
def lease_made_up(wait_s: float) -> Iterator[None]:
    """Lease one of the made-up GPUs; wait `wait_s` seconds at the longest."""
    from kopt.device.hardware.gpus import Gpu
    from kopt.device.hardware.lease import lease

    names = os.environ.get(GPU_VARIABLE) or ",".join(map(str, range(COUNT)))
    gpus = [
        Gpu(uuid=f"made-up-{name.strip()}", name=NAME, memory_bytes=80 << 30, driver="none", arch=90, index=index)
        for index, name in enumerate(names.split(","))
    ]
    with lease(gpus, wait_s=wait_s):
        yield


def _finals(kernels: Mapping[str, str], baselines: Sequence[str]) -> Finals:
    texts = dict(kernels) | {name: name for name in baselines}
    return Finals(
        timings={name: made_up(text) for name, text in texts.items()}, verdicts=dict.fromkeys(kernels, PASSED)
    )


BACKEND = Backend(
    name="dry_gpu", builds=False, chunked=True, facts=dry.facts, build=dry.build, judge=judge, rank=rank,
    profile=profile, directions=dry.directions, techniques=dry.techniques, device=device, baseline=baseline,
    outcome=outcome,
)  # fmt: skip
