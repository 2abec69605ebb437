"""A search on a real Slurm, which the test starts; `benchmarks/slurm.py` disturbs such searches in every way."""

import subprocess
import tempfile
from pathlib import Path

import pytest
from local_slurm import LocalSlurm, missing

from kopt.jobs import submitted
from kopt.warm.place import private_folder

pytestmark = [pytest.mark.workflow, pytest.mark.slurm, pytest.mark.xdist_group("slurm")]

FEW_CORES = ("--set-threads", "compile=2", "compile_seed=2")


@pytest.fixture(scope="module")
def slurm():
    if reason := missing(install=True):
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="kopt-") as folder:  # a short path, since a socket lies in it
        started = LocalSlurm(Path(folder) / "slurm")
        try:
            started.start()
            yield started
        finally:
            started.stop()


@pytest.fixture
def begin(slurm, new_project, tmp_path):
    """Start Snakemake on Slurm in a project of its own."""

    def started(name, *config, targets=()):
        (tmp_path / name).mkdir()
        project = new_project(tmp_path / name)
        options = (*targets, "--profile", "profiles/slurm", "--quiet", "all", *FEW_CORES)
        settings = ("problem=softmax", "run=t", "rounds=1", "models=[kopt-echo]", *config)
        command = project.command(*settings, options=options)
        at = command.index("--cores")
        process = subprocess.Popen(
            [*command[:at], *command[at + 2 :]], cwd=project.folder, env=slurm.environ, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        return project, process

    return started


def test_a_search_runs_in_two_jobs_and_its_lines_reach_the_terminal(slurm, begin):
    """Beside it a job asks for a GPU of one model; its line reaches the terminal of its search too.

    Warm parents start within the jobs and end with them.
    """
    search, searching = begin("search", "judge=dry", "max_repairs=0", "warm=true")
    described, describing = begin("device", "judge=dry_gpu", "gpu_model=slow", targets=("results/t/device.json",))
    output, line = searching.communicate(timeout=300)[0], describing.communicate(timeout=300)[0]
    assert searching.returncode == 0, output
    assert describing.returncode == 0, line
    for shown in ("R0: seed", "R1: 4/4 ok", "best kernel", "results/t/best_kernel.py"):
        assert shown in output
    assert line.count("made-up GPU: ") == 1
    jobs = {record.comment.removeprefix("rule_"): record for record in slurm.history() if "rule_" in record.comment}
    assert {record.state for record in jobs.values()} == {"COMPLETED"}
    assert sorted(name.split("_")[0] for name in jobs) == ["device", "round", "round"]
    assert jobs["device"].node == "node2"  # the one with slow GPUs
    assert not list((described.folder / "results/t/terminal").iterdir())
    assert search.file("best_kernel.py").is_file()
    assert not [note for note in Path(private_folder()).glob("*.note") if str(search.folder) in note.read_text()]


def test_jobs_that_a_killed_start_left_are_cancelled_and_no_others(slurm, tmp_path, monkeypatch, capsys):
    for name, value in slurm.environ.items():
        monkeypatch.setenv(name, value)
    jobs = {}
    for name in ("left", "elsewhere", "another"):
        (tmp_path / name).mkdir()
        folder = tmp_path / ("elsewhere" if name == "elsewhere" else "left")
        words = ("--parsable", "-D", str(folder), "--output=/dev/null", "--wrap=sleep 600")
        jobs[name] = slurm.call("sbatch", *words).strip()
    submitted.cancel_left([jobs["left"], jobs["elsewhere"], "999999"], tmp_path / "left")
    assert set(jobs.values()) & set(slurm.jobs()) == {jobs["elsewhere"], jobs["another"]}
    assert f"1 job that an earlier start of this run left: {jobs['left']}\n" in capsys.readouterr().err
    slurm.call("scancel", jobs["elsewhere"], jobs["another"])
