"""The children of a process, as the kernel lists them and as all processes tell of their parents."""

import os
import subprocess
import sys
import threading
from pathlib import Path

from kopt.sandbox import processes

ROOT = Path(__file__).parents[2]

ADOPTS = """
import os, subprocess, sys
from kopt.sandbox.processes import adopt_orphans, children, kill_orphans
adopt_orphans()
subprocess.run(["sh", "-c", "sleep 60 & sleep 60 & sleep 60 &"], check=True)
orphans = children()
kill_orphans([])
print(len(orphans), children())
"""


def all_that_name_this_process():
    return {pid for pid, parent in processes._parents().items() if parent == os.getpid()}


def test_children_are_all_that_name_this_process_their_parent():
    ended = subprocess.Popen(["true"])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # it is not reaped
    running = [subprocess.Popen(["sleep", "60"]) for _ in range(3)]
    of_a_thread, has_begun, may_end = [], threading.Event(), threading.Event()

    def begin():
        of_a_thread.append(subprocess.Popen(["sleep", "60"]))
        has_begun.set()
        may_end.wait()

    thread = threading.Thread(target=begin)
    thread.start()
    has_begun.wait()
    begun = [ended, *running, *of_a_thread]
    try:
        found = processes.children()
        assert {each.pid for each in begun} <= found
        assert found == all_that_name_this_process()
    finally:
        may_end.set()
        thread.join()
        for each in begun:
            each.kill()
            each.wait()


def test_a_kernel_without_such_lists_tells_the_same(monkeypatch):
    with subprocess.Popen(["sleep", "60"]) as child:
        listed = processes.children()

        def absent(path):
            raise FileNotFoundError(path)

        monkeypatch.setattr(processes, "_listed", absent)
        assert child.pid in listed
        assert processes.children() == listed
        child.kill()


def test_adopted_orphans_are_children_and_are_killed():
    done = subprocess.run([sys.executable, "-c", ADOPTS], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "3 set()\n"
