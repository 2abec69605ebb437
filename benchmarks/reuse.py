"""Count wrong alarms of the check for results that are used again (phase `reuse`) on honest kernels.

    python benchmarks/reuse.py --problem gemma3_swiglu --trials 100
    python benchmarks/reuse.py --problem gemma3_swiglu --kernels a.py b.py

Kernels are the problem's seed kernel with other warps, stages and blocks, or the given ones.  Each is verified once;
then all are raced again and again, and a trial is one kernel in one race.
"""

from __future__ import annotations

import argparse
import itertools
import statistics as stats
import time
from pathlib import Path

from evaluate import PART_S, PROBLEMS, variants

from kopt.device.cuda.judge import LIMITS, ProblemOnDevice
from kopt.device.cuda.judge_processes import JudgeProcesses
from kopt.device.cuda.race import ChunkRace, Race
from kopt.device.cuda.results.verdicts import Recorded
from kopt.device.cuda.verification.verifier import Verifier
from kopt.device.facts.facts import problem_facts
from kopt.device.hardware.nvml import Clocks
from kopt.device.hardware.peaks import describe_device
from kopt.model.build import Phase
from kopt.model.problem import Problem
from kopt.model.verdict import Failed
from kopt.problem.folder import load
from kopt.sandbox.fresh import run_in_fresh_process


def main() -> None:
    """Print a table."""
    options = _options()
    problem = load(PROBLEMS / options.problem)
    problem = problem.model_copy(update={"main": problem.main[:1]})
    gpu = run_in_fresh_process(PART_S, describe_device)
    facts = run_in_fresh_process(PART_S, problem_facts, problem)
    kernels = [problem.seed.with_source(path.read_text()) for path in options.kernels]
    kernels = kernels or [problem.seed, *itertools.islice(variants(problem.seed), options.count)]
    print(f"{gpu.device.name}, {problem.name}, workload {problem.main[0].name}, {len(kernels)} kernels")
    with JudgeProcesses(problem, calibrated=True) as processes:
        verifier = Verifier(processes, seed=1, workers=4, limits=LIMITS)
        outcomes = verifier.verify({str(at): kernel for at, kernel in enumerate(kernels)})
        right = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, Recorded)}
        print(f"{len(right)} of them right")
        _races(problem, processes, right, ProblemOnDevice(facts, gpu), options.trials)


def _races(
    problem: Problem, processes: JudgeProcesses, right: dict[str, Recorded], context: ProblemOnDevice, trials: int
) -> None:
    done, alarms, ratios, turns, began = 0, 0, [], [], time.perf_counter()
    while done < trials:
        results = context.results()
        chunk = ChunkRace(processes, results, Race(repeat=15, keep=len(right)), Clocks(context.gpu.uuid).read)
        for name, judged in chunk.judge(right):
            verdict = judged.verdict
            done += 1
            if isinstance(verdict, Failed):
                alarms += verdict.phase is Phase.REUSE
                print(f"kernel {name}: {verdict.phase.value}: {verdict.reason}")
        for name in right:
            for values in chunk.new_inputs.ratios(name).values():
                ratios += [stats.median(values)] if values else []
                turns.append(len(values))
    seconds = (time.perf_counter() - began) / max(done, 1)
    print(
        f"{done} trials: {alarms} alarms; median ratio of new to known inputs, relative to the control: "
        f"{min(ratios):.3f} to {max(ratios):.3f}; turns: median {stats.median(turns)}, most {max(turns)}; "
        f"{seconds:.2f} s a kernel"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problem", default="gemma3_swiglu")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--count", type=int, default=13, help="variants of the seed kernel")
    parser.add_argument("--kernels", type=Path, nargs="*", default=[], help="judge these kernels, not variants")
    return parser.parse_args()


if __name__ == "__main__":
    main()
