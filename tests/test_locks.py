"""Locks between processes, on file systems with `flock` and without."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from kopt import locks
from kopt.locks import Held, has_flock, hold, holder, lock_file

ROOT = Path(__file__).resolve().parents[1]
HOLD = """
import sys, time
from pathlib import Path
import fcntl
if sys.argv[2] == "without":
    import errno, os
    def missing(*_): raise OSError(errno.ENOLCK, "No locks available")
    fcntl.flock = missing
from kopt.locks import lock_file
with lock_file(Path(sys.argv[1]), 10.0):
    print("held", flush=True)
    time.sleep(600)
"""


KEEP = """
import errno, fcntl, sys, time
from pathlib import Path
if sys.argv[2] == "without":
    def missing(*_): raise OSError(errno.ENOLCK, "No locks available")
    fcntl.lockf = missing
from kopt.locks import hold
print(hold(Path(sys.argv[1]), "the other"), flush=True)
time.sleep(600)
"""


@pytest.fixture(params=["with", "without"])
def kind(request, monkeypatch):
    """Whether the file system has `flock`; one without refuses every call of it, as NFS without a lock server does."""
    has_flock.cache_clear()
    if request.param == "without":

        def refused(*_):
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", refused)
    yield request.param
    has_flock.cache_clear()


@pytest.fixture
def held(tmp_path, kind):
    """Another process that holds the lock of a file."""
    path = tmp_path / "locks" / "one.lock"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), kind], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout.readline() == "held\n"
    yield path, process
    process.kill()
    process.wait()


def test_a_lock_that_another_process_holds_is_waited_for(held):
    path, _ = held
    with pytest.raises(filelock.Timeout):
        lock_file(path, 0.3).acquire()


def test_a_lock_ends_with_a_killed_holder(held):
    path, process = held
    process.send_signal(signal.SIGKILL)
    process.wait()
    with lock_file(path, 20.0) as lock:
        assert lock.is_locked


@pytest.mark.parametrize("kind", ["without"], indirect=True)
def test_a_holder_on_another_machine_that_does_not_renew_loses_its_lock(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(locks, "LEASE_S", 0.5)
    path = tmp_path / "one.lock"
    lock = lock_file(path, 1.0)
    lock.acquire()
    text = path.read_text()
    lock.release()
    path.write_text(text.replace(os.uname().nodename, "another-machine"))
    with lock_file(path, 20.0) as lock:
        assert lock.is_locked


@pytest.mark.parametrize("locks_there", ["with", "without"])
def test_a_process_holds_a_file_until_it_is_killed_and_is_named(tmp_path, locks_there, monkeypatch):
    if locks_there == "without":

        def refused(*_):
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "lockf", refused)
    path = tmp_path / "one.lock"
    words = [sys.executable, "-c", KEEP, str(path), locks_there]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout.readline() == f"{locks_there == 'with'}\n"
        with pytest.raises(Held, match="the other"):
            hold(path, "this one")
        assert holder(path) == ("the other" if locks_there == "with" else None)
        process.kill()
    assert hold(path, "this one") is (locks_there == "with")
    assert hold(path, "again") is (locks_there == "with")
    assert path.read_text() == "this one"
