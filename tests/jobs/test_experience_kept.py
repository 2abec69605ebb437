"""A run leaves experience in the store; a later run on the same device and judge may take it along."""

import math

import pytest

from kopt.artifact import write_value
from kopt.errors import ConfigError
from kopt.jobs.experience import keep_experience, kind_of, take_along
from kopt.jobs.target import ProblemOnTarget
from kopt.model.problem import EagerOp, ProblemFacts, TensorSpec, WorkloadFacts
from kopt.model.proposers import EarlierRuns, RunExperience
from kopt.preflight.validate import check_experience
from kopt.rewrite.earlier_runs import effects_of, start_of
from kopt.rewrite.experience import Experience, Tried
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


def found_by(found, problem="p", kind="keeping", judge="cuda"):
    return RunExperience(problem=problem, kind=kind, device="d", judge=judge, effects=effects_of(found))


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
    start = start_of(EarlierRuns(problem="p", kind="keeping", runs=(found_by(experience()),)))
    knows = Experience((), start)
    assert knows.effects == start
    assert knows.effects["split_k"].mean > 0.1
    assert sum(knows.factors("any", seed)["split_k"].value for seed in range(30)) / 30 > 3
    assert start["flat_tiles"].wasted / start["flat_tiles"].tried > start["split_k"].wasted / start["split_k"].tried


def test_nothing_is_known_without_earlier_runs():
    assert start_of() == start_of(EarlierRuns(problem="p", kind="keeping", runs=())) == {}
    assert Experience((), start_of()).factors("seed", 0) == {}


def test_the_more_alike_the_problems_the_more_their_experience_counts():
    same, kind, other = (
        start_of(EarlierRuns(problem=problem, kind=kind, runs=(found_by(experience()),)))["split_k"]
        for problem, kind in (("p", "keeping"), ("q", "keeping"), ("q", "products"))
    )
    assert same.mean > kind.mean > other.mean > 0
    assert same.deviation < kind.deviation < other.deviation
    assert same.tried > kind.tried > other.tried


def test_the_runs_own_times_outweigh_experience():
    start = start_of(EarlierRuns(problem="q", kind="keeping", runs=(found_by(experience()),)))
    assert experience(gain=-0.2, count=9, before=start).effects["split_k"].mean < -0.05


def test_what_was_taken_along_is_not_passed_on_again():
    start = start_of(EarlierRuns(problem="p", kind="keeping", runs=(found_by(experience()),)))
    assert effects_of(experience(before=start)) == effects_of(experience())


def test_two_runs_tell_what_both_tell():
    (one, two) = (
        start_of(EarlierRuns(problem="q", kind="keeping", runs=(found_by(experience()),) * count))["split_k"]
        for count in (1, 2)
    )
    prior = 1 / 0.1**2
    assert math.isclose(1 / two.deviation**2 - prior, 2 * (1 / one.deviation**2 - prior))


def test_a_store_gives_what_was_found_on_this_device_by_this_judge(tmp_path):
    store, problem = Store(tmp_path), PROBLEMS["softmax"]
    elsewhere = DEVICE.model_copy(update={"name": "another"})
    keep_experience(experience(), problem, facts(), DEVICE, "interpret", store)
    keep_experience(experience("warps"), PROBLEMS["matvec"], facts(written=(1,)), DEVICE, "interpret", store)
    keep_experience(experience("stages"), problem, facts(), DEVICE, "cuda", store)
    keep_experience(experience("stages"), problem, facts(), elsewhere, "interpret", store)
    for judge in ("dry", "dry_gpu", "recorded"):
        keep_experience(experience("stages"), problem, facts(), DEVICE, judge, store)
    keep_experience(Experience(), problem, facts(), DEVICE, "interpret", store)
    target = ProblemOnTarget(problem, facts(), DEVICE, store)
    found = take_along("interpret", target, [])
    assert sorted(run.effects[-1].move for run in found.runs) == ["split_k", "warps"]
    assert sorted(run.kind for run in found.runs) == ["keeping", "reducing"]
    write_value(tmp_path / "experience.json", found)
    assert take_along("recorded", ProblemOnTarget(problem, facts(), DEVICE, Store(tmp_path / "new")),
                      [tmp_path / "experience.json"]) == found  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nothere.json", None, "is no file; give none, store, or the experience.json of a run"),
        ("broken.json", "{", "is not a EarlierRuns"),
        ("a b.json", "{}", "rename it"),
    ],
)
def test_a_wrong_file_of_experience_is_refused_in_one_line(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=message) as refused:
        check_experience([tmp_path / name])
    assert "\n" not in str(refused.value)
