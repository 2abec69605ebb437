"""Lines of submitted jobs reach the search that submitted them, and nothing of a job is lost to its terminal."""

import io
import os
import subprocess
import sys
import threading
from pathlib import Path

from kopt.jobs import submitted

ROOT = Path(__file__).resolve().parents[2]
JOB = """
import sys
from kopt.jobs.submitted import leave_lines
leave_lines()
print("first", end=""); print(" line")
print("kopt: error: second line", file=sys.stderr)
raise ValueError("third")
"""


def run_job(folder):
    environment = os.environ | {submitted.VARIABLE: str(folder), "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", JOB], env=environment, capture_output=True, text=True, check=False)


def test_lines_of_a_job_go_to_its_log_and_to_its_search(tmp_path):
    done = run_job(tmp_path / "terminal")
    assert done.stdout == "first line\n"
    shown = io.StringIO()
    submitted.show(tmp_path / "terminal", shown)
    first, second, *traceback = shown.getvalue().splitlines()
    assert (first, second, traceback[-1]) == ("first line", "kopt: error: second line", "ValueError: third")
    assert done.stderr.splitlines() == [second, *traceback]


def test_a_line_is_shown_once(tmp_path):
    submitted.leave(tmp_path, "a line")
    submitted.show(tmp_path, io.StringIO())
    again = io.StringIO()
    submitted.show(tmp_path, again)
    assert again.getvalue() == ""


def test_a_search_shows_lines_that_are_left_while_it_waits(tmp_path):
    shown, arrived = io.StringIO(), threading.Event()
    shown.write = lambda text: arrived.set()
    ended = submitted.follow(tmp_path, shown)
    submitted.leave(tmp_path, "a line")
    assert arrived.wait(60)
    ended.set()


def test_a_folder_that_cannot_be_written_costs_no_job(tmp_path):
    (tmp_path / "terminal").write_text("a file in the way")
    done = run_job(tmp_path / "terminal")
    assert done.stdout == "first line\n"
    assert done.stderr.endswith("ValueError: third\n")


def test_without_a_search_elsewhere_nothing_is_left(tmp_path):
    stdout = sys.stdout
    submitted.leave_lines({})
    assert sys.stdout is stdout


def test_where_no_job_is_left_nothing_is_cancelled(tmp_path):
    submitted.cancel_left([], tmp_path)
