"""A candidate never ends anything but its slot, outlives nothing, and reads nothing of the run (docs/faults.md)."""

import ctypes
import mmap
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kopt.device.build import build
from kopt.device.build.build import BuildJob
from kopt.device.interpret.contestant import VerifyJob
from kopt.errors import ProblemError
from kopt.load_config import load_device
from kopt.model.build import Phase
from kopt.problem import folder
from kopt.sandbox import group, pool, running
from kopt.sandbox.cage import Limits, cage_features
from kopt.sandbox.pool import Died, Raised, Returned, run_forked
from kopt.sandbox.remove import remove_folder
from kopt.sandbox.use import is_fuller

ROOT = Path(__file__).resolve().parents[2]
FEATURES = cage_features()
MIB = 1 << 20
needs_landlock = pytest.mark.skipif(
    not FEATURES["problems and runs unreadable (Landlock)"], reason="this kernel offers no Landlock"
)
needs_seccomp = pytest.mark.skipif(
    not FEATURES["System V memory closed (seccomp)"], reason="this kernel or machine offers no seccomp filters"
)


def ending(task, limits):
    """How a task ends; a sibling that starts with it must not notice."""
    by_index = dict(run_forked([task, lambda _: b"fine"], workers=2, limits=limits))
    assert by_index[1] == Returned(b"fine")
    return by_index[0]


def here(task):
    """What a task returns in a cage of the usual limits."""
    ((_, outcome),) = run_forked([lambda _: task().encode()], workers=1, limits=Limits(wall_s=20.0))
    assert isinstance(outcome, Returned), outcome
    return outcome.value.decode()


def touched(memory, size):
    for at in range(0, size, 4096):
        memory[at] = 1


def shared_memory(report):
    touched(mmap.mmap(-1, 600 * MIB), 600 * MIB)
    time.sleep(60)
    return b""


def many_processes(report):
    fill = f"import time; held = b'x' * {100 * MIB}; time.sleep(60)"
    held = [subprocess.Popen([sys.executable, "-S", "-E", "-c", fill]) for _ in range(6)]
    time.sleep(60)
    return b"%d" % len(held)


@pytest.mark.parametrize("task", [shared_memory, many_processes])
@pytest.mark.parametrize("watched", [False, True], ids=["by the kernel", "watched"])
def test_memory_is_limited_over_all_kinds_and_processes(task, watched, monkeypatch):
    if watched:
        monkeypatch.setattr(running, "memory_group", lambda limit: None)
        monkeypatch.setattr(pool, "TICK_S", 0.1)
    elif not group.groups_permitted():
        pytest.skip("this user may make no control group")
    limits = Limits(wall_s=60.0, data_bytes=400 * MIB)
    monkeypatch.setattr("kopt.sandbox.cage._limit_resources", lambda limits: None)  # leave it to the common limit
    outcome = ending(task, limits)
    assert isinstance(outcome, Died)
    assert outcome.reason == "used more than 400 MiB of memory, with all its processes"


def test_a_child_that_could_not_enter_its_group_is_watched(monkeypatch):
    if not group.groups_permitted():
        pytest.skip("this user may make no control group")
    monkeypatch.setattr(group.MemoryGroup, "enter", lambda self: None)
    monkeypatch.setattr(pool, "TICK_S", 0.1)
    monkeypatch.setattr("kopt.sandbox.cage._limit_resources", lambda limits: None)
    outcome = ending(many_processes, Limits(wall_s=60.0, data_bytes=400 * MIB))
    assert isinstance(outcome, Died)


def test_no_control_group_is_left():
    if (group_folder := group._parent()) is None:
        pytest.skip("this user may make no control group")
    ending(lambda _: b"done", Limits(wall_s=20.0))
    assert not list(group_folder[0].glob(f"kopt-{os.getpid()}-*"))


@pytest.mark.parametrize(
    "leave",
    [
        lambda n: Path(f"f{n}").write_bytes(bytes(4 * MIB)),
        lambda n: Path(f"i{n}").touch(),
        lambda n: os.mkdir(f"d{n}"),
    ],
    ids=["bytes", "files", "folders"],
)
def test_a_scratch_folder_is_limited(leave, monkeypatch):
    monkeypatch.setattr(pool, "TICK_S", 0.1)

    def task(report):
        for n in range(5000):
            leave(n)
            if n % 50 == 0:
                time.sleep(0.01)
        time.sleep(60)
        return b""

    outcome = ending(task, Limits(wall_s=60.0, scratch_bytes=64 * MIB, scratch_files=2000))
    assert isinstance(outcome, Died)
    assert "files in its folder" in outcome.reason


def test_folders_too_deep_for_a_path_are_counted_and_removed(tmp_path):
    def task(report):
        for _ in range(600):
            os.mkdir("d")
            os.chdir("d")
        return b"deep"

    assert isinstance(ending(task, Limits(wall_s=20.0)), Returned)
    place = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1100):
        os.mkdir("d", dir_fd=place)
        inner = os.open("d", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = inner
    os.close(place)
    assert is_fuller(tmp_path, 1 << 40, 1000)
    assert not is_fuller(tmp_path, 1 << 40, 2000)
    remove_folder(tmp_path)


@needs_seccomp
@pytest.mark.parametrize("gpu", [False, True])
def test_nothing_of_system_v_is_made_that_could_outlive_a_candidate(gpu):
    def task(report):
        libc = ctypes.CDLL(None, use_errno=True)
        made = [libc.shmget(0x4B6F, MIB, 0o1666), libc.msgget(0x4B6F, 0o1666), libc.semget(0x4B6F, 1, 0o1666)]
        return ",".join(map(str, made)).encode()

    assert ending(task, Limits(wall_s=20.0, gpu=gpu)) == Returned(b"-1,-1,-1")


@needs_seccomp
def test_a_file_in_memory_is_refused():
    assert isinstance(ending(lambda _: os.memfd_create("x") and b"", Limits(wall_s=20.0)), Raised)


@needs_landlock
@pytest.mark.parametrize(
    "path",
    [
        ROOT / "config/problems/softmax/problem.yaml",
        ROOT / "config/problems/softmax",
        ROOT / "tests/faults/test_candidates.py",
        Path.home(),
        Path("/proc/self/mem"),
        Path("/proc/self/cmdline"),
        Path("/proc/1/cmdline"),
        Path(f"/proc/{os.getpid()}/cmdline"),
    ],
    ids=lambda path: str(path).replace(str(os.getpid()), "judge"),
)
def test_a_candidate_reads_no_problem_no_home_and_no_other_process(path):
    def refused():
        try:
            return str(os.listdir(path)) if path.is_dir() else path.read_bytes().hex()
        except OSError as error:
            return type(error).__name__

    assert here(refused) == "PermissionError"


@needs_landlock
def test_the_folders_of_other_candidates_are_not_read(tmp_path):
    (tmp_path / "other").write_text("x")

    def read():
        try:
            return (tmp_path / "other").read_text()
        except PermissionError:
            return "refused"

    assert here(read) == "refused"


def test_a_candidate_still_imports_what_nobody_imported_before():
    assert here(lambda: __import__("wave").__name__) == "wave"


def test_arguments_and_environment_are_gone():
    assert here(lambda: repr(sys.argv[1:])) == "[]"


@pytest.mark.parametrize("phase", [Phase.IMPORT, Phase.TRACE])
@pytest.mark.parametrize("name", ["ProblemError", "WorkerDied", "KeyboardInterrupt"])
def test_an_exception_that_a_candidate_names_like_one_of_ours_is_its_own_failure(phase, name):
    assert build._raised(Raised(name, "x", "", phase.value)).phase is Phase.CRASH


def test_a_reference_that_cannot_be_traced_is_no_candidates_failure():
    with pytest.raises(ProblemError):
        build._raised(Raised("ProblemError", "x", "", running.START_PHASE))


@pytest.mark.parametrize("make", [VerifyJob, BuildJob])
def test_a_process_with_a_candidate_holds_no_hidden_workload(make):
    problem = folder.load(ROOT / "config/problems/softmax")
    assert problem.hidden
    rest = {"seed": 1} if make is VerifyJob else {"device": load_device("h100", ROOT)}
    job = make(kernel=problem.seed, problem=problem, **rest)
    assert job.problem == problem.without_hidden()
    shown = {workload.name for workload in (*problem.main, *problem.small)}
    hidden = {f'"{workload.name}"' for workload in problem.hidden if workload.name not in shown}
    assert not any(name in job.model_dump_json() for name in hidden)
