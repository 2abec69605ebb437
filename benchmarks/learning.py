"""Compare searches by the embedded proposer with and without learning, without a GPU: medians of their best times.

    python benchmarks/learning.py [--judge estimate|made-up] [--problems softmax,layernorm,matvec] [--seeds 5]
        [--rounds 4] [--arms off,on] [--store FOLDER]

Each search has 24 slots a round: 4 parents, 3 directions, 2 samples.  Steps are those of the workflow, called in one
process; kernels are not verified, since transformations keep the meaning.

- `estimate` compiles every kernel and estimates its time for the H100.  Estimates answer for the estimate alone: they
  are the quicker question whether a search finds what a judge prefers.
- `made-up` builds nothing.  Each seed makes up a world: an effect of every transformation (a gain, a loss, none at all,
  a failure), which counts once in a lineage, a best value of every number, and noise of 1 %.  It says whether learning
  finds what holds in such a world, over many seeds, and nothing about kernels.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from statistics import geometric_mean, median
from typing import NamedTuple

from kopt.artifact import digest
from kopt.backends.estimates import estimate_time
from kopt.backends.problem_facts import facts_of
from kopt.backends.rule_diagnosis import diagnose_by_rules
from kopt.backends.static_profile import static_profiler
from kopt.backends.triton_builder import build_with_triton
from kopt.jobs.experience import kind_of
from kopt.jobs.rewriter import NOTHING_LEARNED, Learned
from kopt.jobs.target import ProblemOnTarget
from kopt.jobs.tried import tried_before
from kopt.load_config import load_device
from kopt.model.diagnosis import Diagnosis, Direction
from kopt.model.kernel import Candidate
from kopt.model.proposers import REWRITER, EarlierRuns, RunExperience
from kopt.model.trial import BuildRow, EvaluationRow, SelectionRow
from kopt.problem.folder import load
from kopt.rewrite.catalogue import TRANSFORMATIONS
from kopt.rewrite.earlier_runs import effects_of, start_of
from kopt.rewrite.experience import NUMERIC, Effect, Experience, Factor, Tried
from kopt.rewrite.source.module import parse
from kopt.rewrite.transformation import RewriteFacts
from kopt.rewrite.tunables import numbers, read_rows
from kopt.rewrite.tune import TUNED
from kopt.search.bottlenecks import RULES
from kopt.search.expand import FanOut, expand
from kopt.search.order import dedup
from kopt.search.tuned_slots import tuned_slots
from kopt.stages.compile import compile_candidates, mark_duplicates
from kopt.stages.generate import AttemptContext, directions, generate
from kopt.stages.rank import rank
from kopt.stages.seed import seed_candidate
from kopt.store import Store

ROOT = Path(__file__).resolve().parent.parent
FAN_OUT = FanOut(width=4, bottlenecks=3, models=(REWRITER,), samples=2)
SHARE = 0.5
Before = Mapping[str, Effect]
"""Gains of transformations in earlier runs, by name of the transformation."""
NUMBERS = NUMERIC | {TUNED}
"""What changes numbers alone."""


class EstimateJudge:
    """Compile kernels and estimate their times."""

    def __init__(self, target: ProblemOnTarget) -> None:
        self.target = target
        self.build = build_with_triton(target.problem, target.device, target.store, workers=2, seconds=90.0)

    def __call__(
        self, candidates: Sequence[Candidate], builds: Sequence[BuildRow]
    ) -> tuple[list[BuildRow], list[EvaluationRow]]:
        """Build and judge an attempt's candidates."""
        rows, _ = compile_candidates(candidates, self.target, build=self.build)
        marked = mark_duplicates(rows, builds, chunks=1)
        target = self.target
        return marked, [
            evaluation(row, estimate_time(row.build, target.facts, target.device, target.store).objective_ms)
            for row in marked
            if row.chunk == 0
        ]

    def diagnoses(self, parents: Sequence[SelectionRow]) -> list[Diagnosis]:
        """Diagnose parents by rules over their builds and estimates."""
        profiled, diagnose = static_profiler(self.target)(parents), diagnose_by_rules(self.target, FAN_OUT.bottlenecks)
        return [diagnose(row, one.profile) for row, one in zip(parents, profiled, strict=True)]


class MadeUpJudge:
    """Make up a time for each candidate, by what its lineage did and by its numbers."""

    def __init__(self, target: ProblemOnTarget, seed: int) -> None:
        self.target, self.world = target, Random(digest(["world", target.problem.name, seed]))
        self.effects = {name: self._effect() for name in TRANSFORMATIONS if name not in NUMBERS}
        self.seed = seed
        self.known: dict[str, Candidate] = {}

    def _effect(self) -> float | None:
        """Draw the effect of a transformation on the logarithm of time; None for one that always fails."""
        kind = self.world.random()
        if kind < 0.1:
            return None
        if kind < 0.5:
            return 0.0
        return -abs(self.world.gauss(0.08, 0.06)) if kind < 0.72 else abs(self.world.gauss(0.06, 0.05))

    def __call__(
        self, candidates: Sequence[Candidate], builds: Sequence[BuildRow]
    ) -> tuple[list[BuildRow], list[EvaluationRow]]:
        """Make up builds and times of an attempt's candidates."""
        rows = []
        for candidate in candidates:
            if candidate.kernel:
                self.known.setdefault(candidate.kernel, candidate)
                rows.append(self._row(candidate))
        marked = mark_duplicates(rows, builds, chunks=1)
        return marked, [evaluation(row, math.exp(self._log_time(row.kernel))) for row in marked if row.chunk == 0]

    def _row(self, candidate: Candidate) -> BuildRow:
        moves = self._lineage(candidate.kernel)
        effective = sorted(move for move in moves if self.effects.get(move) != 0.0 and move not in NUMBERS)
        failed = any(self.effects.get(move, 0.0) is None for move in candidate.moves) or self._spills(candidate)
        place = candidate.model_dump(include={"round", "attempt", "slot", "kernel"})
        if failed:
            return BuildRow(**place, status="failed", phase="resources", reason="made up")
        shown = digest([effective, sorted(candidate.numbers)])
        return BuildRow(**place, status="built", fingerprint=shown, form=shown, build=shown)

    def _spills(self, candidate: Candidate) -> bool:
        return self._held(candidate) > 9

    def _lineage(self, kernel: str) -> set[str]:
        moves: set[str] = set()
        while kernel in self.known:
            moves.update(self.known[kernel].moves)
            kernel = self.known[kernel].parent
        return moves

    @staticmethod
    def _held(candidate: Candidate) -> float:
        """Return the logarithm (base 2) of the elements of the tile that a thread holds."""
        values = {name.rpartition(".")[2]: value for name, value in read_rows(candidate.numbers).items()}
        tile = sum(math.log2(v) for name, v in values.items() if "BLOCK" in name or name == "ROWS")
        return tile - 5 - math.log2(values.get("num_warps", 4))

    def _log_time(self, kernel: str) -> float:
        candidate, world = self.known[kernel], Random(digest(["numbers", self.target.problem.name, self.seed]))
        structural = sum(self.effects.get(move) or 0.0 for move in sorted(self._lineage(kernel)))
        held, best = self._held(candidate), world.uniform(2.5, 5.5)
        numeric = 0.02 * (held - best) ** 2
        for name, value in read_rows(candidate.numbers).items():
            wanted = Random(digest(["number", name.rpartition(".")[2], self.seed])).uniform(-2.0, 2.0)
            usual = {"num_warps": 2.5, "num_stages": 1.6, "maxnreg": 7.5, "programs": 9.0}
            middle = usual.get(name.rpartition(".")[2].removesuffix("_2"), 8.0 if "BLOCK" in name else 2.0)
            weight = 0.008 if "BLOCK" in name else 0.01
            numeric += weight * min((math.log2(value or 256) - middle - wanted) ** 2, 16.0)
        return structural + numeric + Random(digest(["noise", kernel, self.seed])).gauss(0, 0.01)

    def diagnoses(self, parents: Sequence[SelectionRow]) -> list[Diagnosis]:
        """Draw directions."""
        return [
            Diagnosis(
                kernel=row.kernel, source="made up",
                directions=tuple(
                    Direction(rank=rank, bottleneck=rule.bottleneck, cause="", direction=rule.direction,
                              techniques=rule.techniques)
                    for rank, rule in enumerate(
                        Random(digest(["diagnosis", row.kernel])).sample(RULES, FAN_OUT.bottlenecks), 1
                    )
                ),
            )
            for row in parents
        ]  # fmt: skip


def evaluation(row: BuildRow, time_ms: float) -> EvaluationRow:
    """Make the row of a kernel that passed."""
    return EvaluationRow(
        **row.model_dump(include={"round", "attempt", "slot", "kernel", "fingerprint", "build"}), verdict="passed",
        judge="benchmark", time_ms=time_ms, roofline_share=0.5,
    )  # fmt: skip


class Found(NamedTuple):
    """Result of one search."""

    best: list[float]
    """Best time after each round, from round 0 on, ms."""
    tried: tuple[Tried, ...]


def search(
    target: ProblemOnTarget, judge: EstimateJudge | MadeUpJudge, seed: int, rounds: int, arm: str, before: Before
) -> Found:
    """Search in one of the ways of `learned`, with the effects that earlier runs found."""
    candidates = [with_numbers(seed_candidate(target.problem.seed, target.store), target)]
    builds, evaluations = judge(candidates, [])
    parents = selection(rank([], candidates, evaluations))
    best = [parents[0].time_ms]
    for round in range(1, rounds + 1):
        slots = expand(parents, FAN_OUT)
        tried = tried_before(round, candidates, builds, evaluations)
        context = AttemptContext(
            round=round, attempt=0, seed=seed, parents={row.kernel: row for row in parents},
            directions=directions(judge.diagnoses(parents)), facts=target.facts, device=target.device,
            store=target.store, learned=learned(arm, tried, before, tuned_slots(slots, parents, round, SHARE)),
        )  # fmt: skip
        children = generate(slots, context, earlier=candidates, failed={})
        rows, judged = judge(children, builds)
        candidates, builds, evaluations = [*candidates, *children], [*builds, *rows], [*evaluations, *judged]
        parents = selection(rank(parents, children, judged))
        best.append(parents[0].time_ms)
    return Found(best, tried_before(rounds + 1, candidates, builds, evaluations))


def run(target: ProblemOnTarget, judge: EstimateJudge | MadeUpJudge, seed: int, rounds: int, arm: str) -> list[float]:
    """Search, and return the best times; arm `again` first searches with another seed, and takes that along."""
    before: Before = {}
    if arm == "again":
        earlier = search(target, judge, seed + 1000, rounds, "on", {})
        name, kind = digest(target.problem), kind_of(target.facts)
        found = RunExperience(
            problem=name, kind=kind, device="", judge="", effects=effects_of(Experience(earlier.tried))
        )  # fmt: skip
        before = start_of(EarlierRuns(problem=name, kind=kind, runs=(found,)))
    return search(target, judge, seed, rounds, arm, before).best


def learned(arm: str, tried: tuple[Tried, ...], before: Before, tuned: frozenset[int]) -> Learned:
    """Return what the rewriter knows: nothing (`off`), all (`on`, `again`), or one half (`moves`, `numbers`)."""
    if arm == "off":
        return NOTHING_LEARNED
    experience = WithoutFactors(tried) if arm == "numbers" else Experience(tried, before)
    return Learned(experience, frozenset() if arm == "moves" else tuned)


def with_numbers(seed: Candidate, target: ProblemOnTarget) -> Candidate:
    """Note the numbers of the seed kernel, on which made-up times depend; in a search nobody asks for them."""
    module = parse(target.problem.seed.source)
    read = numbers(module, RewriteFacts(device=target.device))
    return seed.model_copy(update={"sketch": read.sketch, "numbers": read.rows()})


class WithoutFactors(Experience):
    """Experience that changes no weights."""

    @property
    def digest(self) -> str:
        """Digest apart from that of experience which changes weights: both may lie in one store."""
        return digest(["weights stay", super().digest])

    def factors(self, parent: str, seed: int) -> Mapping[str, Factor]:
        """Return nothing."""
        return {}


def selection(pool) -> list[SelectionRow]:
    """Choose the fastest kernels."""
    rows = [SelectionRow(rank=0, techniques=(), cluster="", **row.model_dump(exclude={"position"})) for row in pool]
    return [row.model_copy(update={"rank": place}) for place, row in enumerate(dedup(rows)[: FAN_OUT.width])]


def main() -> None:
    """Run all searches and print a line for each problem and arm."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--judge", choices=("estimate", "made-up"), default="made-up")
    parser.add_argument("--problems", default="softmax,layernorm,matvec")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--arms", default="off,on")
    parser.add_argument("--store", type=Path)
    options = parser.parse_args()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    with tempfile.TemporaryDirectory() as folder:
        store, device = Store((options.store or Path(folder)).absolute()), load_device("h100", ROOT)
        arms = options.arms.split(",")
        for name in options.problems.split(","):
            problem = load(ROOT / "config/problems" / name)
            target = ProblemOnTarget(problem, facts_of(problem, store), device, store)
            found = {arm: [] for arm in arms}
            for seed in range(options.seeds):
                for arm in arms:
                    judge = EstimateJudge(target) if options.judge == "estimate" else MadeUpJudge(target, seed)
                    began = time.process_time()
                    found[arm].append(run(target, judge, seed, options.rounds, arm))
                    spent = time.process_time() - began
                    print(f"# {name} seed {seed} {arm}: {found[arm][-1][-1]:.4f} ms, {spent:.1f} CPU s", flush=True)
            for arm in arms:
                by_round = " ".join(f"{median(run[r] for run in found[arm]):.4f}" for r in range(options.rounds + 1))
                wins = sum(a[-1] < b[-1] * 0.999 for a, b in zip(found[arm], found[arms[0]], strict=True))
                losses = sum(a[-1] > b[-1] * 1.001 for a, b in zip(found[arm], found[arms[0]], strict=True))
                ratio = geometric_mean(a[-1] / b[-1] for a, b in zip(found[arm], found[arms[0]], strict=True))
                print(
                    f"{name:12} {arm:8} median best by round {by_round}; {ratio:.4f}x {arms[0]}, "
                    f"{wins} better, {losses} worse of {options.seeds}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
