"""A run leaves lessons in the store; a later run on the same device and judge may take them along."""

import math

import pytest

from kopt.artifact import write_value
from kopt.errors import ConfigError
from kopt.jobs.lessons import keep_lessons, kind_of, take_along
from kopt.jobs.target import ProblemOnTarget
from kopt.model.problem import EagerOp, ProblemFacts, TensorSpec, WorkloadFacts
from kopt.model.proposers import Lessons, RunLessons
from kopt.preflight.validate import check_lessons
from kopt.rewrite.experience import Experience, Tried
from kopt.rewrite.lessons import lessons_of, start_of
from kopt.store import Store
from tests.rewrite import samples

DEVICE = samples.facts().device
PROBLEMS = samples.problems()


def facts(read=(4096, 8192), written=(4096, 8192), flops=0):
    def spec(name, shape):
        return TensorSpec(name=name, shape=shape, dtype="bfloat16")

    ops = (EagerOp(name="aten.mm", bytes=0, matmul_flops=flops, vector_flops=0),)
    workload = WorkloadFacts(
        workload="main", inputs=(spec("x", read),), outputs=(spec("output", written),), eager_ops=ops
    )  # fmt: skip
    return ProblemFacts(dtype="bfloat16", workloads=(workload,))


def experience(move="split_k", gain=0.2, count=4, before=None):
    seed = Tried(kernel="seed", parent="", outcome="passed", time_ms=1.0)
    children = [
        Tried(kernel=f"{move}{n}", parent="seed", moves=(move,), outcome="passed", time_ms=1.0, gain=gain)
        for n in range(count)
    ]
    broken = Tried(kernel="broken", parent="seed", moves=("flat_tiles",), outcome="failed")
    return Experience((seed, *children, broken), before or {})


def lessons(found, problem="p", kind="keeping", judge="cuda"):
    return RunLessons(problem=problem, kind=kind, device="d", judge=judge, lessons=lessons_of(found))


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("products", facts((512, 3072), (512, 24576), 2 * 512 * 3072 * 49152)),
        ("reducing", facts(written=(4096, 1), flops=2 * 4096 * 8192)),
        ("keeping", facts()),
    ],
)
def test_a_problem_has_a_kind(kind, given):
    assert kind_of(given) == kind


def test_a_run_starts_with_what_it_takes_along():
    start = start_of(Lessons(problem="p", kind="keeping", runs=(lessons(experience()),)))
    knows = Experience((), start)
    assert knows.effects == start
    assert knows.effects["split_k"].mean > 0.1
    assert sum(knows.factors("any", seed)["split_k"].value for seed in range(30)) / 30 > 3
    assert start["flat_tiles"].wasted / start["flat_tiles"].tried > start["split_k"].wasted / start["split_k"].tried


def test_nothing_is_known_without_lessons():
    assert start_of() == start_of(Lessons(problem="p", kind="keeping", runs=())) == {}
    assert Experience((), start_of()).factors("seed", 0) == {}


def test_the_more_alike_the_problems_the_more_a_lesson_counts():
    same, kind, other = (
        start_of(Lessons(problem=problem, kind=kind, runs=(lessons(experience()),)))["split_k"]
        for problem, kind in (("p", "keeping"), ("q", "keeping"), ("q", "products"))
    )
    assert same.mean > kind.mean > other.mean > 0
    assert same.deviation < kind.deviation < other.deviation
    assert same.tried > kind.tried > other.tried


def test_the_runs_own_times_outweigh_lessons():
    start = start_of(Lessons(problem="q", kind="keeping", runs=(lessons(experience()),)))
    assert experience(gain=-0.2, count=9, before=start).effects["split_k"].mean < -0.05


def test_lessons_that_were_taken_along_are_not_passed_on_again():
    start = start_of(Lessons(problem="p", kind="keeping", runs=(lessons(experience()),)))
    assert lessons_of(experience(before=start)) == lessons_of(experience())


def test_a_lesson_twice_tells_what_both_tell():
    (one, two) = (
        start_of(Lessons(problem="q", kind="keeping", runs=(lessons(experience()),) * count))["split_k"]
        for count in (1, 2)
    )
    prior = 1 / 0.1**2
    assert math.isclose(1 / two.deviation**2 - prior, 2 * (1 / one.deviation**2 - prior))


def test_a_store_gives_what_was_found_on_this_device_by_this_judge(tmp_path):
    store, problem = Store(tmp_path), PROBLEMS["softmax"]
    elsewhere = DEVICE.model_copy(update={"name": "another"})
    keep_lessons(experience(), problem, facts(), DEVICE, "interpret", store)
    keep_lessons(experience("warps"), PROBLEMS["matvec"], facts(written=(1,)), DEVICE, "interpret", store)
    keep_lessons(experience("stages"), problem, facts(), DEVICE, "cuda", store)
    keep_lessons(experience("stages"), problem, facts(), elsewhere, "interpret", store)
    for judge in ("dry", "dry_gpu", "recorded"):
        keep_lessons(experience("stages"), problem, facts(), DEVICE, judge, store)
    keep_lessons(Experience(), problem, facts(), DEVICE, "interpret", store)
    target = ProblemOnTarget(problem, facts(), DEVICE, store)
    found = take_along("interpret", target, [])
    assert sorted(run.lessons[-1].move for run in found.runs) == ["split_k", "warps"]
    assert sorted(run.kind for run in found.runs) == ["keeping", "reducing"]
    write_value(tmp_path / "lessons.json", found)
    assert take_along("recorded", ProblemOnTarget(problem, facts(), DEVICE, Store(tmp_path / "new")),
                      [tmp_path / "lessons.json"]) == found  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nothere.json", None, "is no file; give none, store, or the lessons.json of a run"),
        ("broken.json", "{", "is not a Lessons"),
        ("a b.json", "{}", "rename it"),
    ],
)
def test_a_wrong_file_of_lessons_is_refused_in_one_line(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=message) as refused:
        check_lessons([tmp_path / name])
    assert "\n" not in str(refused.value)
