"""Measure what judging a chunk costs on this GPU, by phase, and how much times scatter.

    python benchmarks/evaluate.py --problem matvec --count 16 --workers 8
    python benchmarks/evaluate.py --problem matvec --baselines eager,compile,max-autotune
    python benchmarks/evaluate.py --problem maxpool3d --base docs/results/h200/maxpool3d.py [--compile-on-gpu]

Candidates are the problem's seed kernel, or another one, with other warps, stages and blocks, so that every one
compiles anew.  Kernels of the hidden and the small workload are compiled before the GPU is used, or, with
`--compile-on-gpu`, by contestants.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import statistics as stats
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from kopt import statistics
from kopt.commands.parts.noise import noise_floor
from kopt.device.build.build import BuildJob, build_all
from kopt.device.build.further import compile_further
from kopt.device.cuda.environment import environments
from kopt.device.cuda.finals import FinalsPlan
from kopt.device.cuda.judge import CudaJob, ProblemOnDevice, judge_on, measure_finalists
from kopt.device.cuda.judge_processes import JudgeProcesses
from kopt.device.cuda.race import Race
from kopt.device.facts.facts import problem_facts
from kopt.device.hardware.measured import MeasuredDevice
from kopt.device.hardware.peaks import describe_device
from kopt.model.build import Build, Built, FurtherKernels
from kopt.model.device import Device
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem
from kopt.problem.folder import load
from kopt.sandbox.environment import NO_GPU
from kopt.sandbox.fresh import run_in_fresh_process, run_with_environment
from kopt.store import Store

PROBLEMS = Path(__file__).parents[1] / "config" / "problems"
BATCHES = 20
PART_S = 300.0
"""Limit of a function that runs in a process of its own, s."""


def main() -> None:
    """Print the tables."""
    options = _options()
    problem = load(PROBLEMS / options.problem)
    gpu = run_in_fresh_process(PART_S, describe_device)
    print(f"{gpu.device.name}: copy {gpu.device.copy_gb_s} GB/s, matmul {gpu.device.matmul_tflop_s} TFLOP/s")
    _chunk(problem, gpu, options)
    _noise(problem, gpu, options.launches)
    if options.baselines:
        _baselines(problem, gpu, options)


def _chunk(problem: Problem, gpu: MeasuredDevice, options: argparse.Namespace) -> None:
    base = problem.seed.with_source(options.base.read_text()) if options.base else problem.seed
    kernels = [base, *itertools.islice(variants(base), options.count)]
    with TemporaryDirectory() as folder:
        start = time.perf_counter()
        builds = run_with_environment(NO_GPU, PART_S, build, problem, kernels, gpu.device, Path(folder))
        print(f"\nCPU stage: {len(kernels)} kernels in {time.perf_counter() - start:.2f} s on {os.cpu_count()} cores")
        further = [FurtherKernels()] * len(kernels)
        if not options.compile_on_gpu:
            start = time.perf_counter()
            further = run_with_environment(NO_GPU, PART_S, build_further, problem, kernels, gpu.device, Path(folder))
            print(f"for other workloads: {time.perf_counter() - start:.2f} s")
        jobs = [
            CudaJob(
                kernel=kernel, problem=problem, seed=1, build=build if isinstance(build, Built) else None, further=more
            )
            for kernel, build, more in zip(kernels, builds, further, strict=True)
        ]  # fmt: skip
        _judge(problem, gpu, options, jobs, Store(Path(folder)))


def build(problem: Problem, kernels: Sequence[Kernel], device: Device, folder: Path) -> list[Build]:
    """Build the kernels in this process, which is not the judge's: that one must not have used Triton."""
    jobs = [BuildJob(kernel=kernel, problem=problem, device=device) for kernel in kernels]
    builds = dict(build_all(jobs, store=Store(folder), workers=os.cpu_count() or 1))
    return [builds[at] for at in range(len(kernels))]


def build_further(
    problem: Problem, kernels: Sequence[Kernel], device: Device, folder: Path
) -> list[FurtherKernels]:  # fmt: skip
    """Compile the kernels for the workloads that are no part of a build, in this process, which is not the judge's."""
    return compile_further(
        kernels, problem, device, store=Store(folder), workers=os.cpu_count() or 1, seconds=PART_S / 2
    )  # fmt: skip


def _judge(
    problem: Problem, gpu: MeasuredDevice, options: argparse.Namespace, chunk: Sequence[CudaJob], store: Store
) -> None:
    seed, *jobs = chunk
    # This process begins as the workflow's does: facts come from another process, stored times are looked for first.
    facts = run_in_fresh_process(PART_S, problem_facts, problem)
    environments()
    start = time.perf_counter()
    race = Race(first=5, repeat=options.repeat)
    with JudgeProcesses(problem, calibrated=options.calibrated) as processes:
        context = ProblemOnDevice(facts, gpu, store)
        judged = dict(judge_on(processes, jobs, context, workers=options.workers, incumbent=seed, race=race))
    account = processes.account
    total = time.perf_counter() - start
    passed = [kernel for kernel in judged.values() if kernel.timing is not None]
    print(f"\n{len(jobs)} candidates, {len(passed)} passed, {options.workers} contestants at a time")
    print(f"{'whole chunk':32} {total:8.2f} s {total / len(jobs):8.3f} s a candidate")
    alone = sum(seconds for name, seconds in account.items() if name.startswith("the timer"))
    print(f"{'timer (GPU held alone)':32} {alone:8.2f} s {alone / len(jobs):8.3f} s a candidate")
    for name, seconds in sorted(account.items(), key=lambda pair: -pair[1]):
        print(f"  {name:30} {seconds:8.2f} s {seconds / len(jobs):8.3f} s a candidate")
    for phase in passed[0].seconds if passed else ():
        seconds = stats.mean(kernel.seconds[phase] for kernel in passed)
        print(f"  contestant: {phase:18} {seconds:8.3f} s each, side by side")
    best = min(passed, key=lambda kernel: kernel.timing.objective_ms if kernel.timing else 0.0)
    assert best.timing is not None
    print(f"best {best.timing.objective_ms:.4f} ms, {best.timing.roofline_share:.1%} of the roofline, "
          f"{best.timing.ratio:.4f} of the seed's time")  # fmt: skip


def _noise(problem: Problem, gpu: MeasuredDevice, launches: int) -> None:
    noise = noise_floor(problem, gpu.device.memory_bytes, batches=BATCHES, launches=launches)
    print(f"\nA/A, {noise.batches} batches of {launches}: 1 inside {noise.inside} of {noise.batches} intervals, "
          f"median noise {noise.floor:.3%}, ratio off by at most {noise.worst:.3%}")  # fmt: skip


def _baselines(problem: Problem, gpu: MeasuredDevice, options: argparse.Namespace) -> None:
    start = time.perf_counter()
    plan = FinalsPlan(baselines=tuple(options.baselines.split(",")), warmup=10)
    plan.prepare()
    finals = measure_finalists(
        {"seed": CudaJob(kernel=problem.seed, problem=problem, seed=3)}, ProblemOnDevice(problem_facts(problem), gpu),
        plan=plan,
    )  # fmt: skip
    print(f"\nfresh interleaved measurement, {time.perf_counter() - start:.1f} s")
    for name, timing in finals.timings.items():
        eager = finals.timings.get("eager")
        ratio = statistics.measured_ratio(timing, eager) if eager else None
        for timed in timing.workloads:
            interval = f"[{timed.low_ms:.4f}, {timed.high_ms:.4f}]"
            print(f"  {name:16} {timed.workload:20} {timed.median_ms:8.4f} ms {interval}"
                  f" {timed.floor_ms / timed.median_ms:6.1%} of the roofline")  # fmt: skip
        if ratio:
            print(f"  {name:16} {ratio.middle:.4f} of eager [{ratio.low:.4f}, {ratio.high:.4f}]")


def variants(seed: Kernel) -> Iterator[Kernel]:
    """Yield kernels that differ from the seed in warps, stages and the last block size."""
    sizes = re.findall(r"BLOCK\w*=(\d+)", seed.source)
    for warps, factor, stages in itertools.product((4, 8, 2, 16), (4, 8, 2, 1, 16), (3, 2, 4)):
        source = re.sub(r"num_warps=\d+", f"num_warps={warps}, num_stages={stages}", seed.source)
        source = re.sub(r",\s*num_stages=\d+(?=.*num_stages)", "", source)
        if sizes:
            source = source.replace(f"={sizes[-1]}", f"={min(int(sizes[-1]) * factor, 8192)}")
        elif factor != 1:
            continue
        yield Kernel(source=source, entry=seed.entry)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--problem", default="matvec")
    parser.add_argument("--base", type=Path, help="file of the kernel whose variants are judged; default: the seed")
    parser.add_argument("--compile-on-gpu", action="store_true", help="compile for other workloads in contestants")
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--repeat", type=int, default=5, help="launches of those that stay to the end")
    parser.add_argument("--launches", type=int, default=50, help="launches of an A/A batch")
    parser.add_argument("--baselines", default="", help="e.g. eager,compile,max-autotune")
    parser.add_argument("--calibrated", action="store_true", help="do not prove the problem's checks first")
    return parser.parse_args()


if __name__ == "__main__":
    main()
