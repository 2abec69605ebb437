"""A warm parent that is absent, dies or is confused at any moment costs time, and never a job."""

import fcntl
import os
import signal
import socket
import tempfile
import threading
import time
from pathlib import Path

import pytest
from warm_jobs import ROOT, Jobs, gone

from kopt.warm import client, connect, ends, place, wire

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("warm")]

FAULTY = """
import os, signal, sys
from pathlib import Path
from kopt.warm import place, takeover, wire

file, really_fork, really_take = Path(os.environ["PYTHON_FAULT"]), os.fork, wire.take_right
settled = False


def strikes(fault):
    if file.read_text() != fault:
        return False
    file.write_text("struck")
    return True


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def fork():
    global settled
    by = Path("/proc/self/comm").read_text().strip()
    if by == place.PARENT and not settled:  # that of `_settle`
        settled = True
        if strikes("the parent fails"):
            raise RuntimeError("no parent today")
        return really_fork()
    if strikes(f"{by} cannot fork"):
        raise BlockingIOError(11, "Resource temporarily unavailable")
    if strikes(f"{by} dies before it forks"):
        die()
    pid = really_fork()
    if pid:
        return pid
    if strikes(f"{by} dies after it forked"):
        parent = os.getppid()
        os.kill(parent, signal.SIGKILL)
        while os.getppid() == parent:
            pass
    if strikes(f"the fork of {by} dies"):
        die()
    if by == place.KEEPER:
        if strikes("the job dies before it begins"):
            wire.take_right = die
        if strikes("the job dies as it begins"):
            wire.take_right = lambda right: really_take(right) and die()
        if strikes("the keeper dies before the job begins"):
            wire.take_right = lambda right: os.kill(os.getppid(), signal.SIGKILL) or signal.pause()
        if strikes("the job cannot become what its client is"):
            takeover._be_fresh = lambda: Path("/no such file").read_text()
    return 0


def lock_path(folder, name):
    path = Path(f"{folder}/{name}.lock")
    if strikes("the lock is another"):  # since its client has connected
        path.unlink()
        path.touch(0o600)
    if strikes("the lock is gone"):
        path.unlink()
    return str(path)


if "--warm-parent" in sys.orig_argv:
    os.fork = fork
elif sys.orig_argv[-1] == "meets":
    place.lock_path = lock_path
"""
RUNS = "import sys; open('ran', 'a').write('x'); print('kopt.stages.select' in sys.modules)"


class FaultyJobs(Jobs):
    """Jobs whose parent or client fails once, as a file says."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (folder / "faults").mkdir()  # no file is written there later, which would make the parent's code old
        (folder / "faults" / "sitecustomize.py").write_text(FAULTY)
        self.file, self.ran, self.foreign = folder / "fault", folder / "ran", self.parents().keys()
        self.environ |= {"PYTHONPATH": f"{ROOT}:{folder}/faults", "PYTHON_FAULT": str(self.file)}

    def meet(self, fault: str, script: str = "script") -> tuple[int, str, str, int]:
        """Run a job that meets a fault; return its status, what it printed, and how often it ran."""
        self.file.write_text("none")
        if not self.own_parents():
            assert self.run("")[0] == 0
        self.file.write_text(fault)
        self.ran.write_text("")
        with self.start(RUNS, "meets", name=script) as job:
            out, err = job.communicate()
        assert self.file.read_text() == "struck"
        return job.returncode, out, err, len(self.ran.read_text())

    def own_parents(self) -> dict[str, int]:
        return {name: pid for name, pid in self.parents().items() if name not in self.foreign}

    def end_parents(self) -> None:
        for name, pid in self.own_parents().items():
            os.kill(pid, signal.SIGTERM)
            assert gone(pid)
            place.remove_files(place.private_folder(), name)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    jobs = FaultyJobs(tmp_path_factory.mktemp("faulty"))
    yield jobs
    jobs.end_parents()


@pytest.mark.parametrize(
    "fault",
    [
        "kopt-warm cannot fork", "kopt-keeper cannot fork", "kopt-warm dies before it forks",
        "the fork of kopt-warm dies", "kopt-keeper dies after it forked", "the fork of kopt-keeper dies",
        "the job dies before it begins", "the keeper dies before the job begins",
        "the job cannot become what its client is",
    ],
)  # fmt: skip
def test_a_job_that_no_parent_has_begun_runs_in_its_own_process(faulty, fault):
    assert faulty.meet(fault) == (0, "False\n", "", 1)


@pytest.mark.parametrize("fault", ["the lock is another", "the lock is gone"])
def test_a_job_whose_parent_is_replaced_while_it_asks_runs_in_its_own_process(faulty, fault):
    """The parent of another run's end has gone, and a third job has started another, since the client connected."""
    assert faulty.meet(fault) == (0, "False\n", "", 1)
    faulty.end_parents()


def test_a_job_whose_heavy_parent_cannot_be_forked_runs_in_its_own_process(faulty):
    faulty.environ["KOPT_WARM"] = "torch"
    try:
        assert faulty.meet("kopt-warm cannot fork", "compile") == (0, "False\n", "", 1)
    finally:
        faulty.environ["KOPT_WARM"] = "light"


def test_a_parent_that_cannot_fork_goes_on(faulty):
    faulty.meet("kopt-warm cannot fork")
    before = faulty.own_parents()
    assert faulty.run(RUNS)[:2] == (0, "True\n")
    assert faulty.own_parents() == before


def test_a_job_whose_parent_dies_after_its_fork_is_the_fork(faulty):
    assert faulty.meet("kopt-warm dies after it forked") == (0, "True\n", "", 1)


def test_a_job_that_dies_as_it_begins_does_not_begin_again(faulty):
    assert faulty.meet("the job dies as it begins") == (-signal.SIGKILL, "", "", 0)


def test_a_parent_that_fails_costs_no_job_and_is_told_at_the_end_of_the_run(faulty, capsys):
    faulty.end_parents()
    faulty.file.write_text("the parent fails")
    assert faulty.run(RUNS) == (0, "False\n", "")
    ends.end_idle_parents()
    told = "kopt: note: a warm parent failed, so that jobs started by themselves: RuntimeError: no parent today\n"
    assert capsys.readouterr().err == told
    assert not faulty.own_parents()


class Peer(threading.Thread):
    """A parent, keeper and job in one, which a test plays."""

    def __init__(self, folder: str, plays) -> None:
        super().__init__()
        name = place.name_of_parent()
        self.lock, self.path = Path(place.lock_path(folder, name)), Path(place.socket_path(folder, name, "light"))
        self.lock.touch(0o600)
        self.listener, self.plays, self.took = socket.socket(socket.AF_UNIX), plays, []
        self.listener.bind(str(self.path))
        self.listener.listen()
        self.done = threading.Event()
        self.start()

    def run(self) -> None:
        with self.listener, self.listener.accept()[0] as connection:
            self.plays(self, connection)

    def request(self, connection: socket.socket) -> int:
        """Take the request; return the right to run the job."""
        connection.sendall(wire.READY)
        *others, right = wire.receive_request(connection)[1]
        for descriptor in others:
            os.close(descriptor)
        return right

    def take(self, right: int) -> None:
        self.took.append(wire.take_right(right))
        os.close(right)


def is_stale(peer, connection):
    connection.sendall(wire.STALE)


def closes(peer, connection):
    pass


def is_silent(peer, connection):
    peer.done.wait(60)


def closes_when_ready(peer, connection):
    connection.sendall(wire.READY)


def takes_the_request_and_closes(peer, connection):
    os.close(peer.request(connection))


def does_not_begin(peer, connection):
    os.close(peer.request(connection))
    wire.send_status(connection, 1)


def begins_too_late(peer, connection):
    right = peer.request(connection)
    peer.done.wait(60)
    peer.take(right)


def kept_state() -> object:
    return (
        os.listdir("/proc/self/fd"), [signal.getsignal(number) for number in signal.valid_signals()],
        signal.pthread_sigmask(signal.SIG_BLOCK, ()), os.getcwd(),
    )  # fmt: skip


@pytest.fixture
def place_of_test(monkeypatch):
    """A folder for the sockets of this test alone, with a path that is short enough, and little patience."""
    with tempfile.TemporaryDirectory(prefix="kopt-") as folder:
        monkeypatch.setattr(place, "FOLDER", folder)
        monkeypatch.setattr(client, "WAIT_S", 0.2)
        monkeypatch.setattr(connect, "START_S", 0.2)
        yield folder


@pytest.mark.parametrize(
    "plays",
    [
        is_stale, closes, is_silent, closes_when_ready, takes_the_request_and_closes, does_not_begin, begins_too_late
    ],
)  # fmt: skip
def test_a_process_whose_job_has_not_begun_goes_on_as_if_it_had_asked_nobody(place_of_test, plays):
    before = kept_state()
    peer = Peer(place_of_test, plays)
    assert client.hand_over(["script.py"], "light") is None
    peer.done.set()
    peer.join()
    assert kept_state() == before
    assert not any(peer.took)


def test_a_job_that_has_begun_is_waited_for_however_long_it_takes(place_of_test):
    def plays(peer, connection):
        peer.take(peer.request(connection))
        time.sleep(2 * client.WAIT_S)
        wire.send_status(connection, 3)

    peer = Peer(place_of_test, plays)
    assert client.hand_over(["script.py"], "light") == 3
    assert peer.took == [True]


def test_a_job_that_has_begun_and_whose_keeper_goes_is_told_as_killed(place_of_test, capfd):
    peer = Peer(place_of_test, lambda peer, connection: peer.take(peer.request(connection)))
    assert client.hand_over(["script.py"], "light") == -signal.SIGKILL
    assert peer.took == [True]
    assert capfd.readouterr().err.encode() == client.GONE


def test_a_signal_before_the_job_has_begun_acts_on_the_process_that_asks(place_of_test):
    def plays(peer, connection):
        os.close(peer.request(connection))
        os.kill(os.getpid(), signal.SIGUSR1)
        peer.done.wait(60)

    def handler(number, frame):
        seen.append(number)
        peer.done.set()

    seen = []
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        peer = Peer(place_of_test, plays)
        assert client.hand_over(["script.py"], "light") is None
        peer.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == [signal.SIGUSR1]


@pytest.mark.parametrize(("age_s", "left"), [(0, True), (1000, False)])
def test_a_parent_that_does_not_answer_long_after_its_start_is_replaced_by_the_next_job(place_of_test, age_s, left):
    peer = Peer(place_of_test, is_silent)
    then = time.time() - age_s
    os.utime(peer.path, (then, then))
    assert client.hand_over(["script.py"], "light") is None
    peer.done.set()
    peer.join()
    assert peer.path.exists() == peer.lock.exists() == left


def test_a_job_does_not_wait_for_one_that_does_not_get_done_with_starting_a_parent(place_of_test):
    with open(place.lock_path(place_of_test, place.name_of_parent()), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert client.hand_over(["script.py"], "light") is None


@pytest.mark.parametrize(
    "note", [None, "", "12", f"{os.getpid()}\n{ROOT}\n"], ids=["absent", "empty", "torn", "of a reused process number"]
)
@pytest.mark.parametrize("listens", [True, False])
def test_the_end_of_a_run_removes_what_nobody_listens_to_whatever_its_note_says(place_of_test, note, listens):
    """A parent was killed before it wrote its note, or while it did, or its pid is another process's by now."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place.socket_path(place_of_test, "name", "light"))
        listener.listen()
        if not listens:
            listener.close()
        Path(place.lock_path(place_of_test, "name")).touch()
        if note is not None:
            Path(place.note_path(place_of_test, "name")).write_text(note)
        ends.end_idle_parents()
    assert bool(os.listdir(place_of_test)) == listens
