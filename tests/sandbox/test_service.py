import os
import signal
import time
from pathlib import Path

import pytest

from kopt.errors import ProblemError, WorkerDied
from kopt.sandbox import service
from kopt.sandbox.service import CallFailed, CallTimedOut, ServiceProcess


class Service:
    def __init__(self):
        self.calls = 0

    def count(self):
        self.calls += 1
        return self.calls

    def pid(self):
        return os.getpid()

    def fail(self):
        raise KeyError("gone")

    def blame(self):
        raise ProblemError("the reference is wrong")

    def measure(self, data):
        return len(data)

    def hang(self):
        time.sleep(60)

    def die(self):
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def process():
    one = ServiceProcess("the service", Service)
    yield one
    one.kill()


def test_a_service_keeps_its_state_between_calls(process):
    assert [process.call("count", seconds=10) for _ in range(3)] == [1, 2, 3]
    assert process.call("pid", seconds=10) == process.pid != os.getpid()


def test_what_a_service_raises_leaves_it_usable(process):
    with pytest.raises(CallFailed, match="KeyError"):
        process.call("fail", seconds=10)
    with pytest.raises(ProblemError, match="the reference is wrong"):
        process.call("blame", seconds=10)
    assert process.call("count", seconds=10) == 1


def test_a_call_that_a_service_does_not_take_ends_at_its_limit(process, monkeypatch):
    monkeypatch.setattr(service, "PREPARE_S", 0.5)
    assert process.call("measure", bytes(10**7), seconds=60) == 10**7
    process.begin("hang")
    with pytest.raises(CallTimedOut, match=r"measure was not taken within 0\.5 s"):
        process.begin("measure", bytes(10**7))


def test_what_was_begun_is_done_before_the_next_call(process):
    process.begin("count")
    process.begin("count")
    assert process.call("count", seconds=10) == 3


def test_what_was_begun_and_failed_fails_the_next_call(process):
    process.begin("blame")
    with pytest.raises(ProblemError, match="the reference is wrong"):
        process.call("count", seconds=10)
    assert process.call("count", seconds=10) == 1


def test_a_death_in_what_was_begun_is_seen(process):
    process.begin("die")
    with pytest.raises(WorkerDied, match="died in die"):
        process.call("count", seconds=10)


def test_a_service_that_does_not_answer_is_killed(process):
    pid = process.call("pid", seconds=10)
    with pytest.raises(CallTimedOut, match="hang did not end within"):
        process.call("hang", seconds=0.05)
    assert not Path("/proc", str(pid)).exists()


def test_a_service_that_dies_is_told_from_one_that_fails(process):
    with pytest.raises(WorkerDied, match="died in die"):
        process.call("die", seconds=10)


def test_waiting_is_accounted_for_by_method(process):
    process.call("count", seconds=10)
    assert set(process.spent) == {"count"}
