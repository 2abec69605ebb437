"""A search needs no kernel to start from: it makes a seed kernel of the reference, once for a store."""

import pytest

from kopt.artifact import read_value
from kopt.commands.pack import recording_of
from kopt.errors import SeedError
from kopt.model.problem import Problem
from kopt.preflight.check_seed import check_seed
from kopt.preflight.validate import validate
from kopt.problem.folder import load
from kopt.run.load import MANIFEST
from kopt.run.manifest import Manifest

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("seedless")]

MAKING = "making a seed kernel of its reference"


def test_a_problem_without_a_kernel_is_searched_from_a_seed_that_is_made_once(project):
    (project.folder / "config/problems/softmax/kernel.py").unlink()
    output = project.succeeds(*project.DRY)
    assert output.count(MAKING) == 1
    assert MAKING not in project.file("logs/problem.log").read_text()
    problem = read_value(project.file("problem.json"), Problem)
    assert "@triton.jit" in problem.seed.source
    assert project.file("round_0/attempt_0/candidates/0.py").read_text() == problem.seed.source
    recording = recording_of(project.file(""), read_value(project.file(MANIFEST), Manifest), project.folder)
    for name, text in recording.problem.items():
        (project.folder / "packed" / "softmax" / name).parent.mkdir(parents=True, exist_ok=True)
        (project.folder / "packed" / "softmax" / name).write_text(text)
    assert load(project.folder / "packed" / "softmax") == problem


def test_a_reference_of_which_no_seed_can_be_made_is_refused_in_a_line(project):
    folder = project.folder / "config/problems/softmax"
    (folder / "kernel.py").unlink()
    project.edit("config/problems/softmax/problem.py", "torch.softmax(", "torch.fft.fft(")
    settings = {"problem": "softmax", "run": "t", "judge": "dry", "store": str(project.folder / "store")}
    with pytest.raises(SeedError) as raised:
        check_seed(validate(settings, project.folder))
    assert str(raised.value).startswith("softmax has no kernel.py, and no seed kernel can be made of its reference: ")
    assert str(raised.value).endswith("; write kernel.py (docs/problems.md)")
    assert "\n" not in str(raised.value)
