"""What limits the best kernel is told by rules where it was no parent of a round, or why it is not known."""

import shutil
from dataclasses import replace

import pytest

from kopt.run.so_far import read_so_far
from kopt.view.limits import DIRECTIONS, limits_of_best


def limits(made, known=None, workload="main"):
    """The limits of the best kernel, whose build is of the workload `main`."""
    so_far = read_so_far(made.folder)
    facts = so_far.facts.workloads[0].model_copy(update={"workload": workload})
    run = replace(so_far.run, facts=so_far.facts.model_copy(update={"workloads": (facts,)}))
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
