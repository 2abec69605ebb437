"""What limits the best kernel is told by rules where it was no parent of a round, or why it is not known."""

import shutil
from dataclasses import replace

import pytest

from kopt.model.build import HostOp
from kopt.report.record import FinalFigures
from kopt.run.so_far import read_so_far
from kopt.view.limits import DIRECTIONS, is_far, limits_of_best
from tests.view import hand_made_run as hand_made


def limits(made, known=None, workload="main", **changes):
    """The limits of the best kernel, whose build is of the workload `main`, with changes of the last summary."""
    so_far = read_so_far(made.folder)
    facts = so_far.facts.workloads[0].model_copy(update={"workload": workload})
    *before, last = so_far.run.rounds
    rounds = [*before, replace(last, summary=last.summary.model_copy(update=changes))]
    run = replace(so_far.run, facts=so_far.facts.model_copy(update={"workloads": (facts,)}), rounds=rounds)
    return limits_of_best(run, so_far, made.store, known)


def test_the_best_kernel_is_diagnosed_by_rules_over_its_build_and_estimate(made):
    found = limits(made)
    assert (found.note, found.as_parent) == ("", False)
    assert found.profile.kind == "static"
    assert found.profile.metrics["num_warps"] == 8
    assert len({one.bottleneck for one in found.diagnosis.directions}) == DIRECTIONS


def test_a_profile_and_a_diagnosis_as_a_parent_are_taken_as_they_are(made):
    found = limits(made)
    assert limits(made, (found.profile, found.diagnosis)) == found.model_copy(update={"as_parent": True})


@pytest.mark.parametrize("kind", ["ptx", "build"])
def test_what_is_no_longer_in_the_store_is_said(made, kind):
    shutil.rmtree(made.store.root / kind)
    found = limits(made)
    assert found.profile is found.diagnosis is None
    assert found.note.startswith("no later round began from it")
    assert "the store no longer has" in found.note


def test_a_build_of_other_workloads_has_no_time_and_that_is_said(made):
    assert limits(made, workload="other").note.endswith("and its time is not on record")


def figures(ms, share, ample=0.0):
    return FinalFigures(
        best_name="r1a0s0", best_ms=ms, seed_ms=ms, speedup=1.0, estimated=False, roofline_share=share, ample_ms=ample
    )


@pytest.mark.parametrize(
    ("ms", "share", "ample", "far"),
    [
        (0.08, 0.11, 0.0, True),
        (1.0, 0.29, 0.0, True),
        (1.0, 0.3, 0.0, False),
        (1.4209, 0.24, 2.3, False),  # products of float32 that are exact, of a floor of TF32
        (0.009, 0.02, 0.0, False),  # one launch
        (0.02, 0.05, 0.0, True),  # several launches
    ],
)
def test_a_kernel_is_far_from_the_roofline_where_neither_work_nor_a_launch_explains_its_time(ms, share, ample, far):
    assert is_far(figures(ms, share, ample)) is far


def shortfall(root, monkeypatch, share, launches=1, host_ops=()):
    """Why the best kernel of a run, which takes 1 ms, is far from the roofline."""
    one_launch = hand_made.built

    def built(store, warps):
        build = one_launch(store, warps)
        workload = build.workloads[0]
        parts = {"launches": workload.launches * launches, "host_ops": host_ops}
        return build.model_copy(update={"workloads": (workload.model_copy(update=parts),)})

    monkeypatch.setattr(hand_made, "built", built)
    return limits(hand_made.hand_made_run(root), roofline_share=share).shortfall


COPY = HostOp(name="aten.clone.default", shapes=((4, 4),), kind="copy")


@pytest.mark.parametrize(
    ("launches", "host_ops", "said"),
    [
        (4, (COPY,), "a call is 4 launches and 1 copy; about 8.10x the problem's own bytes move"),
        (1, (COPY, COPY), "a call is 1 launch and 2 copies; about 2.03x the problem's own bytes move"),
        (2, (COPY.model_copy(update={"kind": "view"}),), "a call is 2 launches; about 4.05x the problem's own"),
        (1, (), "about 2.03x the problem's own bytes move"),
    ],
)
def test_what_keeps_the_best_kernel_far_from_the_roofline_is_told(tmp_path, monkeypatch, launches, host_ops, said):
    assert shortfall(tmp_path, monkeypatch, 0.11, launches, host_ops).startswith(f"which would be 0.1100 ms: {said}")
    assert shortfall(tmp_path / "near", monkeypatch, 0.31, launches, host_ops) == ""


def test_where_the_references_own_work_explains_the_time_that_work_is_told(made, monkeypatch):
    monkeypatch.setattr("kopt.run.final.ample_ms", lambda facts, device: 0.7)
    told = "the reference's own arithmetic or its bytes take 0.7000 ms"
    assert limits(made, roofline_share=0.11).shortfall == f"which would be 0.1100 ms: {told}"
    assert limits(made, roofline_share=0.31).shortfall == ""


def test_a_cause_that_is_the_share_in_other_words_is_told_only_where_nothing_else_is(made):
    found = limits(made)
    restated = found.diagnosis.directions[0].model_copy(
        update={"bottleneck": "too_few_bytes_in_flight", "cause": "the problem's bytes move at 11% of the copy rate"}
    )
    known = found.profile, found.diagnosis.model_copy(update={"directions": (restated,)})
    assert limits(made, known, roofline_share=0.11).shortfall.endswith(f": {restated.cause}")
