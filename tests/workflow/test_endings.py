"""Searches that end early, on real Snakemake: one line of kopt's own, and the same command goes on."""

import os
import signal
import subprocess

import pytest

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("bad")]

QUIET = ("--quiet", "all")


def last_line(output):
    lines = [line for line in output.splitlines() if line.startswith("kopt: ")]
    assert "Traceback" not in output
    return lines[-1]


def test_ctrl_c_is_one_line_and_the_same_command_goes_on(project):
    words = (*project.DRY, "rounds=1", "max_repairs=0", "warm=false")
    command = project.command(*words, options=QUIET, full=False)
    with subprocess.Popen(
        command, cwd=project.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    ) as search:
        before = ""
        while not before.startswith("R0"):
            before = search.stdout.readline()
            assert before, "the search has ended"
        os.killpg(search.pid, signal.SIGINT)
        output = search.stdout.read()
    assert output.splitlines() == [
        "kopt: stopped by Ctrl-C; finished results are kept, run the same command again to go on"
    ]
    done = project.run(*words, options=QUIET, full=False)
    assert done.returncode == 0, done.stdout
    assert "best kernel" in done.stdout


def test_a_rule_that_fails_is_named_with_its_log_and_what_to_do(project):
    project.edit(
        "workflow/scripts/problem.py", "def main(", 'def main(job):\n    raise OSError(28, "x", "y")\n\n\ndef other('
    )
    done = project.run(*project.DRY, options=("results/t/problem.json", *QUIET), full=False)
    assert done.returncode == 1
    assert "kopt: error: y: x: free some space there" in done.stdout
    stopped = "kopt: error: the search stopped in rule problem (log: results/t/logs/problem.log); mend that, then run"
    assert last_line(done.stdout).startswith(stopped)


def test_a_dry_run_is_ten_lines_and_a_run_is_called_what_was_typed(project):
    config = [word for word in project.DRY if not word.startswith("run=")]
    done = project.run(*config, "run=007", options=("results/007/final.json", "--dry-run"), full=False)
    assert done.returncode == 0, done.stdout
    lines = [line for line in done.stdout.splitlines() if not line.startswith("Using ")]
    assert 3 <= len(lines) <= 10
    assert "jobs would run" in lines[0]
