"""Certificates of wins, made of a run on made-up GPUs and measured again by the same backend."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from kopt import cli
from kopt.artifact import write_value
from kopt.commands.parts.claims import claim_of, digests_of, measured_again, read_claim, verified_lines, win_of
from kopt.config import Config
from kopt.errors import ConfigError, CorruptArtifact
from kopt.jobs.kernels import put_kernel
from kopt.model.outcome import BEST, Outcome
from kopt.model.timing import Finals, Measured, WorkloadTiming
from kopt.model.trial import SelectionRow
from kopt.model.verdict import Check, Passed
from kopt.store import Store
from tests.view.hand_made_run import FASTER, PROBLEM, hand_made_run

CERTIFICATES = sorted((Path(__file__).resolve().parents[2] / "docs" / "results").glob("*/*.claim.json"))
assert CERTIFICATES, "no certificate is shipped"
CHECK = Check(workload="small", distribution="normal", max_error=0.1, allowed=1.0)


def timing(ms, device="NVIDIA H100 80GB HBM3"):
    samples = tuple(ms * (1 + 0.001 * step) for step in (-2, -1, 0, 1, 2))
    workload = WorkloadTiming(
        workload="main", median_ms=ms, low_ms=samples[1], high_ms=samples[3], samples_ms=samples, floor_ms=ms / 2
    )
    return Measured(device=device, workloads=(workload,))


def finals(**ms):
    return Finals(
        timings={name: timing(value) for name, value in ms.items()},
        verdicts={name: Passed(judge="cuda", checks=(CHECK,)) for name in (BEST, "seed")},
    )


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def run_with(store, measured):
    """A finished run of which only what a claim asks for is there."""
    config = Config(problem="scale", run="run", judge="cuda")
    row = SelectionRow(
        kernel=put_kernel(FASTER, store), fingerprint="f", origin="r1a0s0", model="kopt-rewrite", time_ms=1.0,
        estimated=False, roofline_share=0.5, rank=0, techniques=(), cluster="",
    )  # fmt: skip
    outcome = Outcome(best=row, finals=measured) if measured else None
    best = SimpleNamespace(name="r1a0s0", kernel=row.kernel)
    return SimpleNamespace(name="run", config=config, problem=PROBLEM, outcome=outcome, best=best)


@pytest.fixture
def claim(store):
    measured = finals(**{BEST: 1.0, "seed": 3.0, "eager": 1.5, "max-autotune": 1.2})
    return claim_of(run_with(store, measured), store)


def test_a_certificate_claims_the_win_over_the_fastest_of_pytorchs_ways(claim):
    assert claim.baseline == "max-autotune"
    assert claim.win.speedup == pytest.approx(1.2)
    assert 1 < claim.win.low <= claim.win.speedup <= claim.win.high
    assert claim.kernel.source == FASTER
    assert claim.problem == PROBLEM
    assert claim.verdict.checks == (CHECK,)
    assert set(claim.times) == {BEST, "max-autotune"}
    assert claim.statement.startswith("On NVIDIA H100 80GB HBM3, the kernel is 1.200x as fast as torch.compile")


def test_a_baseline_can_be_named_and_an_unknown_one_is_told(store):
    run = run_with(store, finals(**{BEST: 1.0, "seed": 3.0, "eager": 1.5}))
    assert claim_of(run, store, against="seed").win.speedup == pytest.approx(3.0)
    with pytest.raises(ConfigError, match="was not measured beside compile: --against takes seed, eager"):
        claim_of(run, store, against="compile")


@pytest.mark.parametrize("other", [0.9, 1.0])
def test_no_win_is_no_claim(store, other):
    run = run_with(store, finals(**{BEST: 1.0, "seed": 3.0, "eager": other}))
    with pytest.raises(ConfigError, match=r"is not faster than PyTorch eager beyond noise .* there is no win to claim"):
        claim_of(run, store)


@pytest.mark.parametrize(
    ("judge", "said"),
    [("interpret", "its times are estimates, and an estimate is no claim"), ("dry_gpu", "its times are made up")],
)
def test_what_was_not_measured_is_no_claim(store, judge, said):
    run = run_with(store, finals(**{BEST: 1.0, "eager": 1.5}))
    run.config = Config(problem="scale", run="run", judge=judge)
    with pytest.raises(ConfigError, match=said):
        claim_of(run, store)


def test_a_run_that_has_not_ended_is_told_so(store):
    with pytest.raises(ConfigError, match="has no last measurement: let it end"):
        claim_of(run_with(store, None), store)


def test_the_command_refuses_an_estimate_and_writes_nothing(tmp_path, capsys, monkeypatch):
    made = hand_made_run(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["claim", str(made.folder), "--json"]) == 2
    assert "an estimate is no claim" in json.loads(capsys.readouterr().out)["error"]
    assert not list(tmp_path.glob("*.json"))


def test_a_certificate_survives_its_file_and_an_altered_one_does_not(claim, tmp_path):
    file = tmp_path / "run.claim.json"
    write_value(file, claim)
    assert read_claim(file) == claim
    whole = json.loads(file.read_text())
    for path, value in (
        (("win", "speedup"), 9.0), (("kernel", "source"), "import os"), (("problem", "reference"), "import os"),
        (("device",), "B200"), (("digests", "kernel"), ""), (("times",), {}),
    ):  # fmt: skip
        altered = json.loads(json.dumps(whole))
        place = altered
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = value
        file.write_text(json.dumps(altered))
        with pytest.raises(CorruptArtifact, match=r"no certificate|was altered"):
            read_claim(file)
    file.write_text("[" * 100_000)
    with pytest.raises(CorruptArtifact, match="no certificate"):
        read_claim(file)


def test_a_certificate_whose_digests_were_made_anew_still_needs_what_it_compares(claim, tmp_path):
    emptied = claim.model_copy(update={"times": {BEST: claim.times[BEST]}})
    write_value(tmp_path / "x.json", emptied.model_copy(update={"digests": digests_of(emptied)}))
    with pytest.raises(CorruptArtifact, match="was altered"):
        read_claim(tmp_path / "x.json")


@pytest.mark.parametrize("baseline", ["eager", "seed"])
def test_a_claim_is_measured_again_and_both_figures_are_told(claim, tmp_path, baseline):
    """On made-up GPUs times follow from names and sources, so that it is known what comes out."""
    claim = claim.model_copy(update={"baseline": baseline})
    verified = measured_again(claim, "dry_gpu", Store(tmp_path / "anew"), wait_s=5)
    assert verified.holds is (verified.measured.low > 1)
    lines = "\n".join(verified_lines(verified))
    assert lines.startswith("holds " if verified.holds else "does not hold ")
    assert f"{claim.win.speedup:.3f}x [{claim.win.low:.3f}, {claim.win.high:.3f}]" in lines
    assert f"{verified.measured.speedup:.3f}x" in lines
    assert "NVIDIA H100 80GB HBM3" in lines
    assert "made-up GPU" in lines


def test_a_win_needs_an_interval_above_one():
    assert win_of(finals(**{BEST: 1.0, "eager": 1.5}), "eager").holds
    assert not win_of(finals(**{BEST: 1.0, "eager": 1.0}), "eager").holds


def test_without_a_gpu_nothing_is_verified(claim, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    write_value(tmp_path / "run.claim.json", claim)
    assert cli.main(["verify-claim", str(tmp_path / "run.claim.json")]) == 2
    assert "this machine shows no GPU, and a claim is verified by measuring" in capsys.readouterr().err


@pytest.mark.parametrize("path", CERTIFICATES, ids=lambda path: path.name.split(".")[0])
def test_a_shipped_certificate_is_that_of_the_shipped_kernel_and_of_a_win(path):
    claim = read_claim(path)
    shown = path.with_name(f"{claim.problem.name}.py").read_text()
    entry = claim.kernel.source.split("def kernel_function(")[1]
    assert entry.strip() in shown
    assert claim.win.low > 1
