"""A search on a GPU goes to and fro between machines, is packed, and is replayed where there is no GPU."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from stand_in_gpu import kopt, with_stand_in

from kopt.commands.replay import checked, command, prepare, replayed_lines
from kopt.llm.pack import measurements_packed
from kopt.sandbox import landlock

ROOT = Path(__file__).resolve().parents[2]
ARCHIVES = sorted((ROOT / "docs" / "results").glob("*/*.replies.tar.xz"))
(SMALLEST,) = (path for path in ARCHIVES if path.name.startswith("rmsnorm."))
"""The shipped recording that the command itself replays, confined."""
EQUAL = (
    "best_kernel.py", "trials.parquet", "final.json", "round_0/selection.parquet", "round_1/selection.parquet",
    "round_1/ranking.parquet", "round_1/attempt_0/candidates.parquet", "round_1/attempt_0/builds.parquet",
)  # fmt: skip
MEASURED_HERE = {"build", "verdict", "timing", "finals", "profile", "peaks", "facts", "estimate"}
"""Kinds of the store in which a search finds what this machine built, judged and measured."""
SEARCH = (
    "run", "softmax", "--name", "t", "--cores", "2", "judge=cuda", "models=[written]", "replies=exchange",
    "diagnosis=rules", "reflection=none", "rounds=1", "max_repairs=0", "candidate_pool_size=1", "num_bottlenecks=1",
    "samples_per_prompt=2", "baselines=[eager]", "warm=true",
)  # fmt: skip
pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("recorded")]
confined = pytest.mark.skipif(not landlock.abi(), reason="this kernel offers no Landlock: kopt replay refuses")


def move(project, target, new_project):
    """Take a run to another machine: its folder, its store and Snakemake's records, nothing else."""
    target.mkdir()
    moved = with_stand_in(new_project(target))
    for name in ("results", ".snakemake"):
        shutil.move(project.folder / name, target / name)
    return moved


def answer(exchange):
    """Answer every page: the seed kernel with other blocks, the second answer wrong."""
    source = (ROOT / "config/problems/softmax/kernel.py").read_text()
    pages = [page for page in sorted(exchange.glob("*.md")) if re.fullmatch(r"[0-9a-f]{64}\.md", page.name)]
    for number, page in enumerate(pages):
        text = source.replace("BLOCK=1024", f"BLOCK={(512, 2048)[number]}") + ("", "# wrong\n")[number]
        page.with_suffix(".reply.md").write_text(f"Other blocks.\n\n```python\n{text}```\n")
    return len(pages)


@pytest.fixture(scope="session")
def recorded(tmp_path_factory, new_project, seed_store):
    """A search that began on one GPU, was answered on a machine without one, and ended on another GPU; packed."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "first").mkdir()
    project, log = with_stand_in(new_project(folder / "first")), folder / "measured.txt"
    project.knows(seed_store)
    begun = kopt(project, *SEARCH, gpu="GPU-a", log=log)
    assert "2 requests wait for replies in results/t/exchange" in begun.stdout
    project = move(project, folder / "desk", new_project)
    assert answer(project.file("exchange")) == 2
    before = log.read_text().split("\n")[:-1]
    project = move(project, folder / "second", new_project)
    done = kopt(project, *SEARCH, gpu="GPU-b", log=log)
    assert done.returncode == 0, done.stdout
    project.measured_before, project.measured_after = before, log.read_text().split("\n")[len(before) : -1]
    project.archive = folder / "t.replies.tar.xz"
    packed = kopt(project, "pack", "t", "--output", str(project.archive))
    assert packed.returncode == 0, packed.stdout
    project.packed = packed.stdout
    return project


def test_nothing_is_measured_or_asked_again_on_the_way(recorded):
    """The two answers are judged beside their parent, and ranked by that."""
    first, *beside = [line.split()[0] for line in recorded.measured_before]
    assert (first, sorted(beside)) == ("judge", ["counters", "finals"])
    assert [line.split()[0] for line in recorded.measured_after] == ["judge", "judge", "judge", "finals"]
    assert recorded.measured_after[-1] == "finals best seed"
    ledger = [json.loads(line) for line in recorded.file("ledger.jsonl").read_text().splitlines()]
    assert len({line["request"] for line in ledger}) == 2


def test_an_archive_with_all_measurements_is_small(recorded):
    assert "2 replies and all measurements in" in recorded.packed
    assert recorded.archive.stat().st_size < 20_000
    measured = measurements_packed(recorded.archive)
    assert sorted(one.verdict.verdict for one in measured.verdicts) == ["incorrect", "passed", "passed"]
    assert all(one.build.workloads[0].launches[0].registers for one in measured.builds)
    assert [one.profile.kind for one in measured.profiles] == ["counters"]


@confined
def test_a_replay_elsewhere_ends_with_the_same_bytes(recorded, tmp_path):
    """Without a GPU, and without the store of the run."""
    done = replayed_by_command(recorded.archive, tmp_path)
    assert "differ from those that were recorded" not in done
    for name in EQUAL:
        assert (tmp_path / "results/t" / name).read_bytes() == recorded.file(name).read_bytes(), name


def test_replies_are_replayed_beside_measurements_that_are_made_anew(recorded, tmp_path, new_project):
    project = with_stand_in(new_project(tmp_path))
    words = ("replay", str(recorded.archive), "--anew", "--trust", "--run", "anew", "--cores", "2")
    done = kopt(project, *words, gpu="GPU-c", log=tmp_path / "measured.txt")
    assert done.returncode == 0, done.stdout
    assert "2 of 2 prompts differ from those that were recorded" in done.stdout
    assert "finals best seed" in (tmp_path / "measured.txt").read_text()
    columns = ["slot", "status", "kernel"]
    table = "round_1/attempt_0/candidates.parquet"
    ours, recording = tmp_path / "results/anew" / table, recorded.file(table)
    assert pq.read_table(ours, columns=columns).equals(pq.read_table(recording, columns=columns))
    packed = kopt(project, "pack", "anew")
    assert "2 replies and all measurements in" in packed.stdout


def named(archive):
    return f"{archive.parent.name}/{archive.name.split('.')[0]}"


@confined
def test_the_command_replays_a_shipped_recording_to_the_same_results(tmp_path):
    done = replayed_by_command(SMALLEST, tmp_path)
    check_replay(SMALLEST, tmp_path, done)
    for line in replayed_lines(measurements_packed(SMALLEST), "cuda"):
        assert line in done


@pytest.mark.parametrize("archive", [path for path in ARCHIVES if path != SMALLEST], ids=named)
def test_a_shipped_recording_is_replayed_to_the_same_results(archive, new_project, tmp_path):
    """By what the command runs, with forked jobs, which there are none of where it is confined."""
    results = tmp_path / "results"
    beside = results / f"{checked(archive, results)[0]}.replay"
    prepared = command(prepare(archive, beside / "store", results), 2)
    done = new_project.server.run([*prepared, "--config", *new_project.FAST], beside, os.environ)
    assert done.returncode == 0, done.stdout
    check_replay(archive, tmp_path, done.stdout)


def check_replay(archive, folder, output):
    """Check a replay without a GPU, of the stand-in's recording with other versions of torch and Triton than it had."""
    recorded = measurements_packed(archive)
    how = f"torch {recorded.versions['torch']}, triton {recorded.versions['triton']}"
    builds = f"builds, verdicts, times and profiles of {recorded.device.name} ({how})"
    assert any(builds in line for line in replayed_lines(recorded, "cuda"))
    rounds = len(recorded.rankings)
    assert f"equal to those of the recorded search: best kernel, trials, {rounds} selections" in output
    assert output.count(" replayed\n") == rounds
    (run,) = [path.parent for path in (folder / "results").glob("*/best_kernel.py")]
    page = (run / "report.html").read_text()
    assert "times replayed from a recording" in page
    assert "behind the verdict" in page
    kinds = {path.name for path in (folder / "results" / f"{run.name}.replay/store").iterdir() if path.is_dir()}
    assert kinds & MEASURED_HERE == set()


def replayed_by_command(archive, folder):
    command = [sys.executable, "-m", "kopt.cli", "replay", str(archive), "--results", str(folder / "results")]
    done = subprocess.run(
        [*command, "--cores", "2"], cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout
