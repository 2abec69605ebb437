import ctypes
import mmap
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from kopt.sandbox.cage import Limits, cage_features
from kopt.sandbox.pipe import ASKED, Report
from kopt.sandbox.pool import Died, Outcome, Raised, Returned, TimedOut, run_forked
from kopt.sandbox.processes import descendants

INHERITED = 4 << 30
"""Memory that a forked child may have from the process that runs the tests, whatever ran in it before, bytes."""
QUICK = Limits(wall_s=20.0, data_bytes=INHERITED + (1 << 30))


def outcomes(*tasks, workers=2, limits=QUICK) -> list[Outcome]:
    by_index = dict(run_forked(tasks, workers=workers, limits=limits))
    return [by_index[index] for index in range(len(tasks))]


def answered(*tasks, message_for, workers=2, limits=QUICK) -> list[Outcome]:
    by_index = dict(run_forked(tasks, workers=workers, limits=limits, message_for=message_for))
    return [by_index[index] for index in range(len(tasks))]


def good(report: Report) -> bytes:
    return b"fine"


def assert_costs_only_its_slot(bad, limits=QUICK) -> Outcome:
    outcome, sibling = outcomes(bad, good, limits=limits)
    assert sibling == Returned(b"fine")
    return outcome


def test_results_come_back_with_their_index():
    assert outcomes(*(lambda _, i=i: b"%d" % i for i in range(7))) == [Returned(b"%d" % i) for i in range(7)]


def test_a_task_that_writes_without_end_is_killed_soon():
    def flood(report):
        while True:
            os.write(1, b"passed" * 10000)

    outcome = assert_costs_only_its_slot(flood, Limits(wall_s=60.0, written_bytes=4 << 20))
    assert isinstance(outcome, Died)
    assert outcome.reason == "wrote more than 4 MiB of text"


def test_a_task_that_asks_gets_its_own_message():
    messages = [b"", b"one", os.urandom(1 << 20)]
    ask = [lambda report: report.ask()] * 3
    assert answered(*ask, message_for=messages.__getitem__) == [Returned(message) for message in messages]


def test_no_message_is_made_before_the_first_tasks_have_all_asked():
    shared, ready = mmap.mmap(-1, 2), []

    def task(index, report):
        time.sleep(0.3 * index)
        shared[index] = 1
        return report.ask()

    def message_for(_):
        ready.append(shared[:])
        return b"now"

    assert answered(partial(task, 0), partial(task, 1), message_for=message_for) == [Returned(b"now")] * 2
    assert ready == [b"\1\1"] * 2


def test_a_task_without_a_message_waits_until_another_has_ended():
    free = ["the only slot"]

    def message_for(_):
        return free.pop().encode() if free else None

    tasks = [lambda report: report.ask()] * 4
    results = []
    for index, outcome in run_forked(tasks, workers=3, limits=QUICK, message_for=message_for):
        results.append((index, outcome))
        free.append("the only slot")
    assert sorted(results, key=lambda result: result[0]) == [(index, Returned(b"the only slot")) for index in range(4)]


def test_waiting_for_a_message_does_not_count_against_the_limit():
    def slow(_):
        time.sleep(1.5)
        return b"late"

    assert answered(lambda report: report.ask(), message_for=slow, limits=Limits(wall_s=1.0)) == [Returned(b"late")]


def test_a_task_that_asks_twice_is_killed():
    def twice(report):
        report.ask()
        report.send(ASKED, b"")
        time.sleep(30)

    outcome, sibling = answered(twice, good, message_for=lambda _: b"once")
    assert isinstance(outcome, Died)
    assert "unknown kind" in outcome.reason
    assert sibling == Returned(b"fine")


def test_a_task_that_says_again_that_it_begins_is_killed():
    def forges(report):
        report.phase("import")
        report.phase("start")
        raise ValueError("as if it had not begun")

    assert isinstance(assert_costs_only_its_slot(forges), Died)


def test_a_process_that_cuts_itself_off_is_killed_all_the_same():
    shared = mmap.mmap(-1, 8)

    def leaves_one_behind(report):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                shared[:8] = os.getpid().to_bytes(8, "little")
                time.sleep(60)
            os._exit(0)
        while shared[:8] == bytes(8):
            time.sleep(0.01)
        time.sleep(0.1)
        return b"done"

    assert outcomes(leaves_one_behind, limits=Limits(wall_s=20.0, gpu=True)) == [Returned(b"done")]
    assert not Path("/proc", str(int.from_bytes(shared[:8], "little"))).exists()


def test_a_task_that_does_not_read_its_message_holds_nobody_up():
    def task(report):
        report.send(ASKED, b"")
        time.sleep(60)

    limits = Limits(wall_s=2.0)
    ended, sibling = answered(task, lambda report: report.ask(), message_for=lambda _: bytes(1 << 20), limits=limits)
    assert isinstance(ended, TimedOut)
    assert sibling == Returned(bytes(1 << 20))


def test_a_task_that_dies_while_it_asks_costs_only_its_own_slot():
    def dies(report):
        report.send(ASKED, b"")
        os.kill(os.getpid(), signal.SIGKILL)

    outcome, sibling = answered(dies, lambda report: report.ask(), message_for=lambda _: bytes(1 << 20))
    assert isinstance(outcome, Died)
    assert sibling == Returned(bytes(1 << 20))


def test_a_result_of_many_megabytes_comes_back_whole():
    data = os.urandom(1 << 20) * 40
    assert outcomes(lambda _: data) == [Returned(data)]


def test_a_result_above_the_limit_is_a_death():
    outcome = assert_costs_only_its_slot(lambda _: bytes(2000), Limits(wall_s=20.0, result_bytes=1000))
    assert isinstance(outcome, Died)
    assert "above the limit" in outcome.reason


def test_an_exception_is_reported_with_its_phase():
    def task(report):
        report.phase("import")
        raise ValueError("no such thing")

    outcome = assert_costs_only_its_slot(task)
    assert isinstance(outcome, Raised)
    assert (outcome.kind, outcome.message, outcome.phase) == ("ValueError", "no such thing", "import")
    assert "no such thing" in outcome.traceback_tail


def test_sys_exit_is_no_result():
    outcome = assert_costs_only_its_slot(lambda _: sys.exit(0))
    assert isinstance(outcome, Raised)
    assert outcome.kind == "SystemExit"


def test_os_exit_zero_is_no_result():
    outcome = assert_costs_only_its_slot(lambda _: os._exit(0))
    assert isinstance(outcome, Died)
    assert outcome.reason == "exited with status 0 without a result"


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_signal_is_named(number):
    outcome = assert_costs_only_its_slot(lambda _: os.kill(os.getpid(), number) or time.sleep(10) or b"")
    assert isinstance(outcome, Died)
    assert outcome.reason == f"killed by {number.name}"


@pytest.mark.parametrize("gpu", [False, True])
def test_a_real_time_signal_is_a_death_too(gpu):
    outcome = assert_costs_only_its_slot(lambda _: os.kill(os.getpid(), 40), Limits(wall_s=20.0, gpu=gpu))
    assert isinstance(outcome, Died)
    assert "signal 40" in outcome.reason


def test_stopping_itself_under_trace_is_a_death():
    def task(_):
        ctypes.CDLL(None).ptrace(0, 0, 0, 0)
        os.kill(os.getpid(), signal.SIGUSR1)

    outcome = assert_costs_only_its_slot(task)
    assert isinstance(outcome, Died)


@pytest.mark.parametrize("status", [b"4479", b"-1", b"1000000000000"])
def test_a_forged_status_is_a_death(status):
    outcome = assert_costs_only_its_slot(lambda report: report.send(b"S", status) or os._exit(0))
    assert isinstance(outcome, Died)


@pytest.mark.parametrize("content", [b"5", b"[1]", b"[" * 100000])
def test_a_forged_exception_is_a_death(content):
    outcome = assert_costs_only_its_slot(lambda report: report.send(b"E", content) or os._exit(0))
    assert isinstance(outcome, Died)


def test_the_end_of_stderr_explains_a_death():
    def task(report):
        os.write(2, b"LLVM ERROR: bad\n")
        os.abort()

    outcome = assert_costs_only_its_slot(task)
    assert isinstance(outcome, Died)
    assert outcome.output.endswith("LLVM ERROR: bad\n")


def test_a_hang_is_killed_at_the_limit_and_its_phase_named():
    def task(report):
        report.phase("compile")
        while True:
            pass

    assert assert_costs_only_its_slot(task, Limits(wall_s=1.0)) == TimedOut("compile", 1.0)


def test_ignoring_every_signal_does_not_help():
    def task(report):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        time.sleep(60)

    assert isinstance(assert_costs_only_its_slot(task, Limits(wall_s=1.0)), TimedOut)


def test_a_memory_hog_is_stopped():
    def task(report):
        hoard = []
        while True:
            hoard.append(bytearray(64 << 20))

    outcome = assert_costs_only_its_slot(task, Limits(wall_s=60.0, data_bytes=INHERITED + (1 << 30)))
    assert isinstance(outcome, Raised)
    assert outcome.kind == "MemoryError"


def test_a_fork_bomb_is_stopped():
    before = own_descendants()

    def task(report):
        while True:
            try:
                os.fork()
            except OSError:
                time.sleep(0.01)

    outcome = assert_costs_only_its_slot(task, Limits(wall_s=10.0, processes=16))
    assert isinstance(outcome, Died)
    assert "processes" in outcome.reason
    assert_gone(before)


@pytest.mark.skipif(not cage_features()["user namespace"], reason="without one processes are counted by kopt alone")
def test_a_child_may_have_threads_for_every_core_of_a_large_machine(monkeypatch):
    """The kernel counts threads as processes; libgomp ends a process whose threads cannot begin."""
    monkeypatch.setattr(os, "cpu_count", lambda: 256)
    outcome = assert_costs_only_its_slot(lambda report: str(resource.getrlimit(resource.RLIMIT_NPROC)[0]).encode())
    assert isinstance(outcome, Returned)
    assert int(outcome.value) >= 3 * 256


def test_much_text_on_stdout_is_noise():
    def task(report):
        for _ in range(16):
            os.write(1, b"x" * (1 << 20))
        return b"done"

    assert assert_costs_only_its_slot(task) == Returned(b"done")


def test_an_endless_flood_is_killed_at_the_limit_of_time_where_that_of_text_is_higher():
    def task(report):
        while True:
            os.write(1, b"x" * (1 << 16))

    assert assert_costs_only_its_slot(task, Limits(wall_s=1.0, written_bytes=1 << 60)) == TimedOut("start", 1.0)


def test_forged_frames_on_the_pipe_are_a_death():
    def task(report):
        os.write(report.descriptor, b"R" * 64)
        time.sleep(10)
        return b""

    outcome = assert_costs_only_its_slot(task)
    assert isinstance(outcome, Died)
    assert "no frame" in outcome.reason


def test_closing_the_pipe_is_a_death():
    def task(report):
        os.close(report.descriptor)
        os._exit(0)

    assert isinstance(assert_costs_only_its_slot(task), Died)


def test_killing_everything_it_can_see_harms_nobody_else():
    features = cage_features()
    if not (features["process namespace"] or features["signals to others blocked (Landlock)"]):
        return  # here it would do harm, as the record of the cage says

    def task(report):
        for pid in (os.getppid(), -1):
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue
        return b"tried"

    assert assert_costs_only_its_slot(task) in (Returned(b"tried"), Died("killed by SIGKILL", "start"))


def test_a_background_process_dies_with_its_task():
    before = own_descendants()

    def task(report):
        if os.fork() == 0:
            os.setsid()
            time.sleep(60)
        return b"done"

    assert assert_costs_only_its_slot(task) == Returned(b"done")
    assert_gone(before)


def test_a_background_thread_does_not_delay_the_result():
    def task(report):
        threading.Thread(target=time.sleep, args=(60,)).start()
        return b"done"

    assert assert_costs_only_its_slot(task) == Returned(b"done")


def test_a_task_may_start_helper_programs():
    assert outcomes(lambda _: subprocess.run(["echo", "hello"], capture_output=True, check=True).stdout) == [
        Returned(b"hello\n")
    ]


def test_scratch_folders_are_removed():
    def task(report):
        Path("left").write_text("over")
        return os.getcwd().encode()

    (outcome,) = outcomes(task)
    assert isinstance(outcome, Returned)
    assert not Path(outcome.value.decode()).exists()


def test_closing_the_iterator_kills_what_runs():
    before = own_descendants()
    iterator = run_forked([good, lambda _: time.sleep(60) or b""], workers=2, limits=QUICK)
    assert next(iterator) == (0, Returned(b"fine"))
    iterator.close()
    assert_gone(before)


def own_descendants() -> set[int]:
    """Processes that descend from this one; other tests' servers may be among them."""
    return descendants([os.getpid()])[os.getpid()]


def assert_gone(before: set[int]) -> None:
    """Wait until none is left but those of `before`."""
    for _ in range(500):
        if own_descendants() <= before:
            return
        time.sleep(0.02)
    raise AssertionError(own_descendants() - before)
