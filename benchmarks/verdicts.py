"""Does the judge give the right verdict for any operator?

    python benchmarks/verdicts.py idioms [--judge interpret|cuda] [--only NAME ...] [--json FILE]
    python benchmarks/verdicts.py mutants [--only NAME ...] [--rule RULE ...]
    python benchmarks/verdicts.py seeds [--count 12] [--rule RULE ...]
    python benchmarks/verdicts.py cost [--count 12]

`idioms` judges the right kernels of `benchmarks/idioms`: each must pass.  `mutants` makes wrong kernels of them by rule
(`mutants.py`): none may pass, save those that are equivalent, which are recognised by their fingerprint, and those
that are listed with the reason (`mutants.yaml`).  `seeds` judges the right kernels, and the mutants of the rules that
`--rule` names, with other seeds of the run: verdicts must be the same.  `cost` measures `kopt evaluate` on a sample
of idioms.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from idiom_corpus import Idiom, idioms
from mutants import Mutant, listed, mutants_of
from verdict_cases import Case, Ending, build_all_cases, judge, judge_with_seeds
from verdict_cuda import judge_on_gpu

from kopt.load_config import load_device
from kopt.model.build import Built
from kopt.sandbox.environment import NO_GPU
from kopt.sandbox.fresh import run_with_environment

ROOT = Path(__file__).resolve().parent.parent
PASSED = "passed"
SEEDED = 40
"""Kernels that are judged together with several seeds."""
WALL_S = 60.0
"""Limit of building, and of verifying, one kernel, s."""


class Result(NamedTuple):
    """How a kernel was judged."""

    name: str
    end: str
    reason: str


def judged(cases: Sequence[Case], judge_name: str, workers: int, seed: int, chunk: int = 60) -> list[Ending]:
    """Judge cases, `chunk` at a time, and report progress."""
    if judge_name == "cuda":
        return judge_on_gpu(cases, workers=workers, wall_s=WALL_S, seed=seed)
    device, ends = load_device("h100", ROOT), []
    for start in range(0, len(cases), chunk):
        ends += judge(cases[start : start + chunk], device, workers=workers, wall_s=WALL_S, seed=seed)
        print(f"{len(ends)} of {len(cases)}", file=sys.stderr, flush=True)
    return ends


def idiom_cases(corpus: Sequence[Idiom]) -> list[Case]:
    """Return the right kernel of every idiom as a case."""
    return [Case(idiom.name, idiom.problem, idiom.problem.seed) for idiom in corpus]


def mutant_cases(corpus: Sequence[Idiom], rules: Sequence[str] = ()) -> list[tuple[Mutant, Case]]:
    """Return every mutant of every idiom with its case."""
    return [
        (mutant, Case(f"{idiom.name}/{mutant.name}", idiom.problem, idiom.problem.seed.with_source(mutant.source)))
        for idiom in corpus
        for mutant in mutants_of(idiom)
        if not rules or mutant.rule in rules
    ]


def results(cases: Sequence[Case], ends: Sequence[Ending]) -> Iterator[Result]:
    """Join cases and ends."""
    for case, end in zip(cases, ends, strict=True):
        yield Result(case.name, end.end, end.reason)


def run_idioms(options: argparse.Namespace, corpus: Sequence[Idiom]) -> bool:
    """Judge all right kernels; return whether every one passed."""
    cases, start = idiom_cases(corpus), time.monotonic()
    ends = judged(cases, options.judge, options.workers, options.seed)
    took = time.monotonic() - start
    outcome = list(results(cases, ends))
    for result in outcome:
        print(_line(result), flush=True)
    alarms = [result for result in outcome if result.end != PASSED]
    kinds = {idiom.kind for idiom in corpus}
    print(
        f"{len(outcome)} right kernels of {len(kinds)} kinds of operators: {len(alarms)} false alarms; "
        f"{took / len(outcome):.2f} s each with {options.workers} workers"
    )
    _write(options.json, outcome)
    return not alarms


def run_mutants(options: argparse.Namespace, corpus: Sequence[Idiom]) -> bool:
    """Judge all mutants; return whether few enough survive and all survivors are explained."""
    pairs = mutant_cases(corpus, options.rule)
    cases = [case for _, case in pairs]
    ends = judged(cases, options.judge, options.workers, options.seed)
    outcome = list(results(cases, ends))
    survivors = [result for result in outcome if result.end == PASSED]
    reasons, same = listed(), _equivalent({case.name: case for case in cases}, corpus, survivors, options.workers)
    real = [result for result in survivors if result.name not in same and not reasons.equivalent.get(result.name)]
    wrong = len(outcome) - (len(survivors) - len(real))
    caught = Counter(result.end for result in outcome if result.end != PASSED)
    for result in outcome:
        if options.verbose or result.end == PASSED:
            why = "the same compiled code" if result.name in same else reasons.why(result.name)
            print(f"{_line(result)} {why}")
    by_rule = Counter(mutant.rule for mutant, _ in pairs)
    print(", ".join(f"{rule} {count}" for rule, count in sorted(by_rule.items())))
    print(", ".join(f"{end}: {count}" for end, count in caught.most_common()))
    print(
        f"{wrong} wrong mutants ({len(outcome)} made, {len(outcome) - wrong} of them equivalent): "
        f"{len(real)} survive ({100 * len(real) / max(1, wrong):.1f} %)"
    )
    unlisted = [result.name for result in real if not reasons.survivors.get(result.name)]
    print("not explained:", ", ".join(unlisted) or "none")
    judged_names, passing = {case.name for case in cases}, {result.name for result in survivors}
    stale = sorted({*reasons.equivalent, *reasons.survivors} & judged_names - passing)
    print("listed, but refused:", ", ".join(stale) or "none")
    _write(options.json, outcome)
    return len(real) <= 0.02 * wrong and not unlisted


def run_seeds(options: argparse.Namespace, corpus: Sequence[Idiom]) -> bool:
    """Judge idioms, and mutants of the chosen rules, with several seeds; return whether all verdicts are the same."""
    mutants = [case for _, case in mutant_cases(corpus, options.rule)] if options.rule else []
    cases, device = [*idiom_cases(corpus), *mutants], load_device("h100", ROOT)
    ends: dict[str, list[str]] = {case.name: [] for case in cases}
    for start in range(0, len(cases), SEEDED):
        some = cases[start : start + SEEDED]
        per_seed = judge_with_seeds(some, device, range(options.count), workers=options.workers, wall_s=WALL_S)
        for seed, found in enumerate(per_seed):
            for result in results(some, found):
                ends[result.name].append(result.end)
                if "/" not in result.name and result.end != PASSED:
                    print(_line(result), flush=True)
            print(f"{start + len(some)} kernels, seed {seed}: {_differing(ends)} verdicts differ", flush=True)
    for name, found in ends.items():
        if len(set(found)) > 1:
            print(f"{name}: {', '.join(found)}")
    print(f"{len(cases)} kernels, {options.count} seeds: {_differing(ends)} verdicts depend on the seed")
    return not _differing(ends)


def run_cost(options: argparse.Namespace, corpus: Sequence[Idiom]) -> bool:
    """Time `kopt evaluate` on every so many-th idiom; return whether the median is at most 12 s."""
    seconds = []
    for idiom in corpus[:: max(1, len(corpus) // options.count)]:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / idiom.name
            idiom.save(place)
            command = ["kopt", "evaluate", place / "kernel.py", "--problem", place, "--judge", "interpret"]
            start = time.monotonic()
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds.append(time.monotonic() - start)
        print(f"{idiom.name}: {seconds[-1]:.1f} s, {(done.stdout or done.stderr).splitlines()[0][:60]}", flush=True)
    print(f"median {statistics.median(seconds):.1f} s, largest {max(seconds):.1f} s, of {len(seconds)} idioms")
    return statistics.median(seconds) <= 12


def _equivalent(
    cases: Mapping[str, Case], corpus: Sequence[Idiom], survivors: Sequence[Result], workers: int
) -> set[str]:
    """Return the survivors that compile to the same code, launched in the same way, as the kernel they come from."""
    names = {result.name.partition("/")[0] for result in survivors}
    originals = [case for case in idiom_cases(corpus) if case.name in names]
    both = [*originals, *(cases[result.name] for result in survivors)]
    with tempfile.TemporaryDirectory() as store:
        limit, device = 120 + 2 * len(both) * WALL_S, load_device("h100", ROOT)
        built = run_with_environment(NO_GPU, limit, build_all_cases, both, device, Path(store), workers, WALL_S)
    prints = {case.name: build.fingerprint for case, build in zip(both, built, strict=True) if isinstance(build, Built)}
    return {
        result.name for result in survivors if prints.get(result.name) == prints.get(result.name.partition("/")[0], "")
    }


def _differing(ends: Mapping[str, Sequence[str]]) -> int:
    return sum(len(set(found)) > 1 for found in ends.values())


def _line(result: Result) -> str:
    reason = " ".join(result.reason.split())[:300]
    return f"{result.name}: {result.end}" + (f": {reason}" if reason else "")


def _write(path: Path | None, outcome: Sequence[Result]) -> None:
    if path:
        path.write_text(json.dumps([result._asdict() for result in outcome], indent=1))


COMMANDS = {"idioms": run_idioms, "mutants": run_mutants, "seeds": run_seeds, "cost": run_cost}


def main() -> None:
    """Run one of the commands; the status is 1 where a verdict is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--judge", choices=("interpret", "cuda"), default="interpret")
    parser.add_argument("--only", nargs="+", default=[], help="names of idioms")
    parser.add_argument("--rule", nargs="+", default=[], help="rules of mutants")
    parser.add_argument("--part", default="1/1", help="take one part of the idioms only, e.g. 1/2, then 2/2")
    parser.add_argument("--seed", type=int, default=0, help="the run's seed")
    parser.add_argument("--count", type=int, default=12, help="seeds, or sampled idioms")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path, help="write all ends and reasons to this file")
    parser.add_argument("--verbose", action="store_true", help="print every mutant")
    options = parser.parse_args()
    part, parts = map(int, options.part.split("/"))
    corpus = [idiom for idiom in idioms() if not options.only or idiom.name in options.only][part - 1 :: parts]
    sys.exit(0 if COMMANDS[options.command](options, corpus) else 1)


if __name__ == "__main__":
    main()
