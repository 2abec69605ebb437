"""A search needs no kernel to start from: it makes a seed kernel of the reference, once for a store."""

import pytest

from kopt.artifact import read_table, read_value
from kopt.commands.pack import recording_of
from kopt.errors import SeedError
from kopt.jobs import made_seed
from kopt.load_config import load_device
from kopt.model.kernel import Candidate, Kernel, ProposalStatus
from kopt.model.problem import Problem
from kopt.model.trial import BuildRow
from kopt.problem.folder import load
from kopt.project import project_root
from kopt.run.load import MANIFEST
from kopt.run.manifest import Manifest
from kopt.seed.make import Seed
from kopt.stages.seed import second_candidate
from kopt.store import Store
from tests.device.small import H100, SCALE

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("seedless")]

MAKING = "making a seed kernel of its reference"


def test_a_problem_without_a_kernel_is_searched_from_a_seed_that_is_made_once(project):
    own = project.folder / "config/problems/softmax/kernel.py"
    text = own.read_text()
    own.unlink()
    output = project.succeeds(*project.DRY, "rounds=1", "max_repairs=0")
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

    own.write_text(text)
    beside = project.succeeds(*project.DRY, "rounds=1", "max_repairs=0", "run=beside", "second_seed=true")
    assert MAKING not in beside
    round_0 = project.folder / "results/beside/round_0"
    assert (round_0 / "attempt_0/candidates/0.py").read_text() == text
    assert (round_0 / "attempt_0/candidates/1.py").read_text() == problem.seed.source
    candidates = read_table(round_0 / "attempt_0/candidates.parquet", Candidate)
    assert [(one.name, one.model) for one in candidates] == [("r0a0s0", "seed"), ("r0a0s1", "kopt-seed")]
    builds = read_table(round_0 / "attempt_0/builds.parquet", BuildRow)
    assert [one.slot for one in builds] == [0, 1]


def test_a_reference_of_which_no_seed_can_be_made_is_refused_in_a_line(tmp_path, monkeypatch):
    def none(problem, device):
        raise SeedError("TorchInductor has no kernel for an FFT")

    monkeypatch.setattr(made_seed, "seeds_of", none)
    with pytest.raises(SeedError) as raised:
        made_seed.with_seed(SCALE.model_copy(update={"seed": Kernel(source="")}), H100, Store(tmp_path))
    assert str(raised.value) == (
        "scale has no kernel.py, and no seed kernel can be made of its reference: TorchInductor has no kernel for an "
        "FFT; write kernel.py (docs/problems.md), or let a language model do it: kopt seed --model"
    )
    assert made_seed.with_seed(SCALE, H100, Store(tmp_path)) is SCALE
    second = second_candidate(SCALE, H100, Store(tmp_path))
    assert (second.status, second.reason) == (ProposalStatus.NONE, "TorchInductor has no kernel for an FFT")


def test_a_check_and_the_search_on_a_measured_gpu_have_one_seed(tmp_path, monkeypatch):
    described, devices = load_device("a100", project_root()), []

    def seeds(problem, device):
        devices.append(device)
        return [Seed(source="import triton", made_by="template")]

    monkeypatch.setattr(made_seed, "seeds_of", seeds)
    problem, store = SCALE.model_copy(update={"seed": Kernel(source="")}), Store(tmp_path)
    measured = described.model_copy(update={"measured": True, "memory_bytes": 1 << 36, "copy_gb_s": 1500.0})
    for device in (described, measured):
        assert made_seed.made_seed(problem, device, store, "").source == "import triton"
    assert devices == [described]
