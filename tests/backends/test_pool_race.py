"""A race that judged a round's new kernels beside the parents ranks the pool, and no kernel of it is measured anew."""

import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from kopt.backends import cuda_finals, cuda_judge, pool_race
from kopt.backends.backend import Rivals
from kopt.backends.cuda_finals import measure_pool
from kopt.device.cuda.race import JudgedKernel
from kopt.jobs.target import ProblemOnTarget
from kopt.load_config import load_device
from kopt.model.build import Phase
from kopt.model.environment import Environment
from kopt.model.kernel import Candidate
from kopt.model.options import FinalsOptions, JudgeOptions, MeasureOptions
from kopt.model.problem import ProblemFacts
from kopt.model.timing import Finals, Measured, WorkloadTiming
from kopt.model.trial import BuildRow, SelectionRow
from kopt.model.verdict import Failed, Incorrect, Passed
from kopt.problem.folder import load
from kopt.stages.evaluate import evaluate
from kopt.stages.rank import rank
from kopt.store import Store

ROOT = Path(__file__).resolve().parents[2]
REPEAT = 20
FINALISTS = 3
MEASURE = MeasureOptions(benchmark_warmup=1, benchmark_repeat=REPEAT, workers_per_gpu=8, gpu_wait_seconds=60)
OPTIONS = JudgeOptions(seed=0, judge_seconds=90, measure=MEASURE)
HERE = Environment(gpu="H100", uuid="GPU-1", driver="580", torch="2.11", triton="3.6", evaluator="e")
PASSED = Passed(judge="cuda", checks=())
WRONG = Incorrect(judge="cuda", reason="off by one", checks=())
HUNG = Failed(judge="cuda", phase=Phase.TIMEOUT, reason="no end")


def took(ms: float, calls: int = REPEAT) -> JudgedKernel:
    """A kernel that passed, and its time in the race."""
    one = WorkloadTiming(workload="w", median_ms=ms, low_ms=ms, high_ms=ms, samples_ms=(ms,) * calls, floor_ms=0.1)
    return JudgedKernel(verdict=PASSED, timing=Measured(device="H100", workloads=(one,), environment=HERE))


def parent(name: str, ms: float) -> SelectionRow:
    return SelectionRow(
        rank=0, kernel=name, fingerprint=f"f {name}", origin="r0a0s0", model="m", time_ms=ms, estimated=False,
        roofline_share=0.5, techniques=(), cluster="",
    )  # fmt: skip


def child(name: str, slot: int, attempt: int = 0) -> BuildRow:
    return BuildRow(
        round=1, attempt=attempt, slot=slot, kernel=name, status="built", fingerprint=f"f {name}", build="b", chunk=0
    )


@pytest.fixture
def target(tmp_path):
    problem, device = load(ROOT / "config/problems/softmax"), load_device("h100", ROOT)
    return ProblemOnTarget(problem, ProblemFacts(dtype=problem.dtype, workloads=()), device, Store(tmp_path))


@pytest.fixture
def judged(target, monkeypatch):
    """Judge the chunk of an attempt on a made-up GPU, on which each kernel does as it is said to; return the rows."""

    def judge(children, parents, race, finalists=FINALISTS):
        asked = []

        def prepared(rows, beside, *given):
            asked.extend(row.kernel for row in (*rows, *beside))
            return lambda device: enumerate(race[name] for name in asked)

        monkeypatch.setattr(cuda_judge, "_prepared", prepared)
        rows = evaluate(
            children, chunk=0, judge=cuda_judge.judge_by_cuda(target, OPTIONS, Rivals(parents, finalists))
        )  # fmt: skip
        assert set(asked) <= race.keys()
        return rows

    monkeypatch.setattr(cuda_judge, "check_same", lambda *devices: None)
    monkeypatch.setattr(cuda_judge, "leased", lambda *given, **named: nullcontext(SimpleNamespace(device=None)))
    for module in (cuda_judge, pool_race, cuda_finals):
        monkeypatch.setattr(module, "environments", lambda: (HERE,))
    return judge


@pytest.fixture
def ranked(target, monkeypatch):
    """Rank the pool; return its kernels with their times, and the kernels that were measured anew."""

    def pool_of(parents, rows):
        anew: list[str] = []
        monkeypatch.setattr(cuda_finals, "kernel_named", lambda name, *given: name)
        monkeypatch.setattr(
            cuda_finals,
            "measure_anew",
            lambda kernels, *_, **__: anew.extend(kernels) or Finals(timings={}, verdicts={}),
        )
        candidates = [
            Candidate(
                round=row.round, attempt=row.attempt, slot=row.slot, parent="p", bottleneck=0, sample=0, model="m",
                status="proposed",
            )
            for row in rows
        ]  # fmt: skip
        pool = rank(parents, candidates, rows)
        options = FinalsOptions(finalists=FINALISTS, judging=OPTIONS)
        after = measure_pool(pool, target, options, round=1)
        return [(row.kernel, row.time_ms) for row in after], anew

    return pool_of


def test_the_race_of_a_round_ranks_its_pool(judged, ranked):
    """The times are those that parents and children had side by side, not those of an earlier round."""
    parents, children = [parent("p", 1.0)], [child("a", 0), child("b", 1)]
    rows = judged(children, parents, {"a": took(1.2), "b": took(1.4), "p": took(1.3)})
    assert ranked(parents, rows) == ([("a", 1.2), ("p", 1.3), ("b", 1.4)], [])


def test_a_kernel_that_left_the_race_early_and_is_not_among_the_fastest_keeps_its_time(judged, ranked):
    parents, children = [parent("p", 1.0)], [child("a", 0), child("b", 1), child("c", 2)]
    race = {"a": took(0.9), "b": took(1.4), "c": took(1.6, calls=5), "p": took(1.1)}
    assert ranked(parents, judged(children, parents, race)) == ([("a", 0.9), ("p", 1.1), ("b", 1.4), ("c", 1.6)], [])


def test_one_of_the_fastest_that_left_the_race_early_is_measured_anew_with_the_others(judged, ranked):
    parents, children = [parent("p", 1.0)], [child("a", 0), child("b", 1)]
    rows = judged(children, parents, {"a": took(1.2), "b": took(1.4, calls=5), "p": took(1.3)})
    assert ranked(parents, rows)[1] == ["p", "a", "b"]


def test_a_parent_that_fails_in_the_race_leaves_the_pool(judged, ranked):
    parents, children = [parent("p", 1.0)], [child("a", 0), child("b", 1)]
    rows = judged(children, parents, {"a": took(1.2), "b": took(1.4), "p": JudgedKernel(verdict=WRONG)})
    assert ranked(parents, rows) == ([("a", 1.2), ("b", 1.4)], [])


def test_a_parent_that_may_have_failed_for_the_machines_fault_is_measured_anew(judged, ranked):
    parents, children = [parent("p", 1.0)], [child("a", 0), child("b", 1)]
    rows = judged(children, parents, {"a": took(1.2), "b": took(1.4), "p": JudgedKernel(verdict=HUNG)})
    assert ranked(parents, rows)[1] == ["p", "a", "b"]


def test_a_kernel_that_is_wrong_is_in_no_pool(judged, ranked):
    parents, children = [parent("p", 1.0)], [child("a", 0), child("b", 1)]
    rows = judged(children, parents, {"a": took(1.2), "b": JudgedKernel(verdict=WRONG), "p": took(1.3)})
    assert ranked(parents, rows) == ([("a", 1.2), ("p", 1.3)], [])


def test_a_repair_that_passes_was_in_no_race_with_the_others(judged, ranked):
    parents = [parent("p", 1.0)]
    first = judged(
        [child("a", 0), child("b", 1)], parents, {"a": took(1.2), "b": JudgedKernel(verdict=WRONG), "p": took(1.3)}
    )
    repaired = judged([child("c", 1, attempt=1)], parents, {"c": took(1.25)}, finalists=0)
    assert ranked(parents, [*first, *repaired])[1] == ["p", "a", "c"]


def test_what_was_judged_before_is_in_no_race_so_that_no_parent_is(judged, ranked):
    parents, both = [parent("p", 1.0)], [child("a", 0), child("b", 1)]
    judged(both[:1], parents, {"a": took(1.2), "p": took(1.3)})
    rows = judged(both, parents, {"b": took(1.1)})
    assert ranked(parents, rows)[1] == ["p", "b", "a"]


def test_a_round_that_runs_again_is_ranked_by_the_same_race(judged, ranked):
    parents, children = [parent("p", 1.0)], [child("a", 0), child("b", 1)]
    before = ranked(parents, judged(children, parents, {"a": took(1.2), "b": took(1.4), "p": took(1.3)}))
    assert ranked(parents, judged(children, parents, {})) == before


def test_only_parents_that_may_be_among_the_fastest_race(judged, ranked):
    parents = [parent(name, ms) for name, ms in (("p", 1.0), ("q", 1.1), ("r", 1.2), ("s", 9.0))]
    rows = judged([child("a", 0)], parents, {"a": took(0.9)} | {name: took(1.0) for name in "pqr"})
    after, anew = ranked(parents, rows)
    assert anew == []
    assert [name for name, _ in after] == ["a", "p", "q", "r", "s"]


def test_the_race_of_a_run_with_fewer_finalists_ranks_no_pool_of_more(judged, ranked, monkeypatch):
    parents, children = [parent("p", 1.0), parent("q", 1.3), parent("r", 1.4)], [child("a", 0), child("b", 1)]
    race = {"a": took(1.5), "b": took(1.9, calls=5), "p": took(1.6), "q": took(1.7)}
    judged(children, parents, race, finalists=2)
    again = judged(children, parents, {}, finalists=5)
    monkeypatch.setattr(sys.modules[__name__], "FINALISTS", 5)
    _, anew = ranked(parents, again)
    assert set(anew) == {"p", "q", "r", "a", "b"}


def test_the_race_of_a_run_with_other_parents_first_ranks_no_pool_with_a_faster_one(judged, ranked):
    race = {"a": took(0.9), "p": took(1.4), "q": took(1.6), "r": took(1.7)}
    judged([child("a", 0)], [parent(name, 1.0 + 0.1 * at) for at, name in enumerate("pqrs")], race)
    others = [parent(name, 1.0 + 0.1 * at) for at, name in enumerate("srqp")]
    again = judged([child("a", 0)], others, {})
    _, anew = ranked(others, again)
    assert "s" in anew


def test_a_race_decides_where_the_times_of_earlier_rounds_were_all_shorter(judged, ranked):
    parents = [parent("p", 1.0), parent("q", 1.01), parent("r", 1.02)]
    rows = judged([child("a", 0)], parents, {"a": took(1.1), "p": took(1.3), "q": took(1.3), "r": took(1.3)})
    after, anew = ranked(parents, rows)
    assert after[0][0] == "a"
    assert not anew
