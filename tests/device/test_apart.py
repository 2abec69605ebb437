"""A call in a process of its own returns, raises what is ours, and never outlives its limit."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from kopt.errors import ConfigError, WorkerDied
from kopt.sandbox.fresh import run_in_fresh_process


def pid_of_a_fresh_process():
    return os.getpid(), "torch" in sys.modules


def refuse(word):
    raise ConfigError(f"no {word}")


def break_down():
    raise ZeroDivisionError


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def die_with_a_child(path):
    child = subprocess.Popen(["sleep", "600"])
    path.write_text(str(child.pid))
    die()


def test_it_runs_in_a_process_without_our_modules():
    pid, has_torch = run_in_fresh_process(60.0, pid_of_a_fresh_process)
    assert pid != os.getpid()
    assert not has_torch


def test_our_errors_come_back_as_they_are():
    with pytest.raises(ConfigError, match="no bread"):
        run_in_fresh_process(60.0, refuse, word="bread")


@pytest.mark.parametrize("end", [break_down, die])
def test_a_process_that_breaks_is_named(end):
    with pytest.raises(WorkerDied, match=f"{end.__name__} ended without an answer"):
        run_in_fresh_process(60.0, end)


def test_a_call_ends_at_its_limit():
    with pytest.raises(WorkerDied, match=r"sleep was not done within 0\.5 s"):
        run_in_fresh_process(0.5, time.sleep, 600.0)


def test_no_child_of_a_call_outlives_it(tmp_path):
    with pytest.raises(WorkerDied, match="die_with_a_child ended without an answer, status -9"):
        run_in_fresh_process(60.0, die_with_a_child, tmp_path / "pid")
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(int((tmp_path / "pid").read_text())).wait(30.0)
