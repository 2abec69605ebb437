"""A run's folder that holds a run of another problem is refused before anything is spent."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kopt.artifact import write_value
from kopt.config import Config
from kopt.errors import ConfigError
from kopt.preflight.start import PROBLEM, check_free, refuse_foreign_run
from kopt.preflight.validate import Checked
from kopt.problem import folder
from kopt.run.started import STARTED, hold, record_start

PROBLEMS = Path(__file__).parents[2] / "config" / "problems"
RUN = Path("results/r")


@pytest.fixture
def checked(tmp_path, monkeypatch):
    """Return the settings of a run `r` of a problem among copies of the shipped ones, or in another folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("softmax", "rmsnorm"):
        shutil.copytree(PROBLEMS / name, tmp_path / "problems" / name)

    def of(problem, problems="problems"):
        return Checked(Config(problem=problem, problems=problems, run="r"), tmp_path)

    return of


def run_of(checked):
    """Leave what a run leaves that has read its problem."""
    record_start(RUN, ["snakemake"], checked.config)
    write_value(RUN / PROBLEM, folder.load(checked.problem_folder))


def test_another_problem_is_refused_and_the_same_goes_on(checked):
    refuse_foreign_run(checked("softmax"))  # there is no run yet
    run_of(checked("softmax"))
    refuse_foreign_run(checked("softmax"))
    with pytest.raises(ConfigError, match="a run of problem softmax: name this run otherwise"):
        refuse_foreign_run(checked("rmsnorm"))


@pytest.mark.parametrize("lost", [STARTED, PROBLEM])
def test_either_record_of_a_run_is_enough(checked, lost):
    run_of(checked("softmax"))
    (RUN / "round_0").mkdir()
    (RUN / lost).unlink()
    with pytest.raises(ConfigError, match="is a run of problem softmax: "):
        refuse_foreign_run(checked("rmsnorm"))
    refuse_foreign_run(checked("softmax"))


def test_a_run_that_another_process_works_on_is_refused_but_for_a_look(checked):
    holds = "import sys; from pathlib import Path; from kopt.run.started import hold; hold(Path('results/r')); "
    words = [sys.executable, "-c", f"{holds}print(flush=True); sys.stdin.read()"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        process.stdout.readline()
        with pytest.raises(ConfigError, match=rf"works on results/r \(process {process.pid} on .*, started in /"):
            check_free("results/r", ["snakemake", "--nolock"])
        with pytest.raises(ConfigError, match="another search works on"):
            check_free("results/r", ["snakemake", "--unlock"])
        with pytest.raises(ConfigError, match="another search works on results/r"):
            record_start(RUN, ["snakemake"], checked("softmax").config)
        check_free("results/r", ["snakemake", "-n"])
        process.stdin.close()
    check_free("results/r", ["snakemake"])
    assert hold(RUN)


def test_a_problem_that_was_edited_where_it_is_goes_on(checked):
    run_of(checked("softmax"))
    with Path("problems/softmax/problem.py").open("a") as file:
        file.write("\nEDITED = 1\n")
    refuse_foreign_run(checked("softmax"))


def test_a_problem_of_the_same_name_elsewhere_is_another_one_where_it_differs(checked):
    run_of(checked("softmax"))
    shutil.copytree("problems/softmax", "mine/softmax")
    refuse_foreign_run(checked("softmax", "mine"))
    with Path("mine/softmax/problem.py").open("a") as file:
        file.write("\nEDITED = 1\n")
    with pytest.raises(ConfigError, match=r"is a run of problem softmax in .*/problems: "):
        refuse_foreign_run(checked("softmax", "mine"))
    shutil.rmtree("problems/softmax")  # moved, and edited since
    refuse_foreign_run(checked("softmax", "mine"))
