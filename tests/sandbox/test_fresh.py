"""A call in a fresh process returns or raises as the function does, and never outlives its limit."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from kopt.errors import ConfigError, WorkerDied
from kopt.sandbox.environment import NO_GPU, environment_set
from kopt.sandbox.fresh import (
    FreshProcess,
    run_in_fresh_process,
    run_in_shared,
    run_with_environment,
    sharing_process,
    tell_caller,
)
from kopt.sandbox.processes import kill_unreaped, wait_for_end

ROOT = Path(__file__).resolve().parents[2]


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


PROGRAM = """
import os, sys
from kopt.sandbox.fresh import run_in_fresh_process
print("imported", flush=True)

def own():
    return "its own function"

if __name__ == "__main__":
    print(run_in_fresh_process(60.0, {function}))
"""


@pytest.mark.parametrize(("function", "printed"), [("os.getcwd", 1), ("own", 2)])
def test_the_program_is_imported_again_only_for_a_function_of_its_own(tmp_path, function, printed):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(function=function))
    done = subprocess.run([sys.executable, program], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True,
                          capture_output=True, check=True)  # fmt: skip
    assert done.stdout.splitlines() == ["imported"] * printed + [str(ROOT) if printed == 1 else "its own function"]


def test_our_errors_come_back_as_they_are():
    with pytest.raises(ConfigError, match="no bread"):
        run_in_fresh_process(60.0, refuse, word="bread")


def variable(name):
    return os.environ.get(name)


def test_variables_are_set_in_the_fresh_process_only(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1")
    assert run_with_environment(NO_GPU, 60.0, variable, "CUDA_VISIBLE_DEVICES") == ""
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-1"
    assert run_in_fresh_process(60.0, variable, "CUDA_VISIBLE_DEVICES") == "GPU-1"


def test_variables_are_set_before_the_functions_module_is_imported(tmp_path, monkeypatch):
    source = "import os\n\nREAD = os.environ.get('MODE')\n\n\ndef read():\n    return READ\n"
    (tmp_path / "reads_once.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    import reads_once

    assert reads_once.read() is None
    assert run_with_environment({"MODE": "fresh"}, 60.0, reads_once.read) == "fresh"


@pytest.mark.parametrize("before", [None, "1"])
def test_a_variable_is_set_for_a_block_and_set_back(before, monkeypatch):
    monkeypatch.delenv("MODE", raising=False)
    if before is not None:
        monkeypatch.setenv("MODE", before)
    with environment_set({"MODE": "inside"}):
        assert os.environ["MODE"] == "inside"
    with pytest.raises(ZeroDivisionError), environment_set({"MODE": "inside"}):
        break_down()
    assert os.environ.get("MODE") == before


@pytest.mark.parametrize("end", [break_down, die])
def test_a_process_that_breaks_is_named(end):
    with pytest.raises(WorkerDied, match=f"{end.__name__} ended without an answer"):
        run_in_fresh_process(60.0, end)


def test_a_process_imports_modules_before_its_call():
    with FreshProcess({}, modules=("wave",)) as process:
        assert process.call(60.0, loaded, "wave") == [True]
    with FreshProcess({}) as process:
        assert process.call(60.0, loaded, "wave") == [False]


def test_a_process_that_dies_before_its_call_is_told_as_any_other():
    with FreshProcess({}, modules=("no_such_module",)) as process, pytest.raises(WorkerDied, match="without an answer"):
        process.call(60.0, loaded)


def loaded(*names):
    return [name in sys.modules for name in names]


def test_a_call_ends_at_its_limit():
    with pytest.raises(WorkerDied, match=r"sleep was not done within 0\.5 s"):
        run_in_fresh_process(0.5, time.sleep, 600.0)


def test_a_call_that_the_process_does_not_take_ends_at_its_limit(tmp_path, monkeypatch):
    """The process hangs in an import, and the call is too large to wait for it in a socket."""
    (tmp_path / "hangs.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with FreshProcess({}, modules=("hangs",)) as process, pytest.raises(WorkerDied, match=r"not done within 0\.5 s"):
        process.call(0.5, len, bytes(10**7))


def test_what_a_process_has_left_is_killed_only_until_it_is_reaped():
    """Afterwards its pid may be another's: here it is still that of the group in which its child lives."""
    gone, goes = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        if os.fork() == 0:
            os.close(gone)
            time.sleep(600)
        os._exit(0)
    os.close(goes)
    pidfd = os.pidfd_open(pid)
    assert wait_for_end(pidfd, 60)
    os.waitid(os.P_PID, pid, os.WEXITED)
    kill_unreaped(pid, pidfd)
    assert not select.select([gone], [], [], 0.2)[0]
    os.killpg(pid, signal.SIGKILL)
    assert os.read(gone, 1) == b""
    for descriptor in (gone, pidfd):
        os.close(descriptor)


def test_no_child_of_a_call_outlives_it(tmp_path):
    with pytest.raises(WorkerDied, match="die_with_a_child ended without an answer, status -9"):
        run_in_fresh_process(60.0, die_with_a_child, tmp_path / "pid")
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(int((tmp_path / "pid").read_text())).wait(30.0)


def named(word):
    tell_caller(f"{word} 1")
    tell_caller(f"{word} 2")
    return os.getpid()


def test_calls_that_share_a_process_are_made_in_one_and_are_heard_in_order():
    heard = []
    with sharing_process({}, ("wave",)):
        first = run_in_shared({}, 30.0, heard.append, named, "a")
        second = run_in_shared({}, 30.0, None, named, "b")
        third = run_in_shared({}, 30.0, heard.append, named, "c")
    assert first == second == third
    assert heard == ["a 1", "a 2", "c 1", "c 2"]
    assert run_in_shared({}, 30.0, heard.append, named, "d") != first
    assert named("e") == os.getpid()  # in a process without a caller nobody is told
    assert heard[4:] == ["d 1", "d 2"]
