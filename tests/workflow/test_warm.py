"""Jobs that are forked from a warm parent: they are what a process of their own would be, or they run in one."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from warm_jobs import ROOT, SECRET, Jobs, comes, gone, state

from kopt.sandbox.processes import descendants
from kopt.warm import client, ends, place

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("warm")]

TELLS = """
import json, os, resource, signal, sys, threading, tempfile
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
told = {
    "words": sys.argv, "original": sys.orig_argv, "folder": os.getcwd(), "environ": dict(os.environ),
    "stdin": sys.stdin.read(), "umask": os.umask(0o77), "temporary": tempfile.gettempdir(), "path": sys.path,
    "descriptors": sorted(os.listdir("/proc/self/fd"))[:3], "nice": os.nice(0), "name": status["Name"],
    "ignored": status["SigIgn"], "blocked": status["SigBlk"], "caught": status["SigCgt"],
    "command": [word for word in open("/proc/self/cmdline").read().split(chr(0)) if word.strip()],
    "main": sys.modules["__main__"].__file__, "buffered": [sys.stdout.line_buffering, sys.stderr.line_buffering],
    "limits": [resource.getrlimit(kind) for kind in range(16)], "encoding": sys.stdout.encoding,
    "thread": threading.current_thread().name,
}
print(json.dumps(told, sort_keys=True))
print("to stderr", file=sys.stderr)
"""
HEAVY = """
import os, sys
before = {"torch", "triton", "kopt.device.build.build"} & sys.modules.keys(), len(os.listdir("/proc/self/task"))
from kopt.device.hardware.zygote import check_unused
check_unused()
import torch
print(sorted(before[0]), before[1], torch.get_num_threads(), "torch._dynamo" in sys.modules)
"""
WAITS = "import os, time; print(os.getpid(), os.getppid(), flush=True); time.sleep(60)"


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    made = Jobs(tmp_path_factory.mktemp("jobs"))
    before = made.parents()
    assert made.run("")[0] == 0
    (made.name,) = made.parents().keys() - before.keys()
    made.pid = made.parents()[made.name]
    yield made
    for name, pid in made.parents().items():
        if name == made.name:
            os.kill(pid, signal.SIGTERM)


def family(jobs: Jobs) -> set[int]:
    return descendants([jobs.pid])[jobs.pid]


def test_a_forked_job_is_what_a_process_of_its_own_would_be(jobs):
    (code, out, err), (own_code, own_out, own_err) = (
        jobs.run(TELLS, "a=1", "b={}", warm=warm, given="words\n") for warm in (True, False)
    )
    told, own = json.loads(out), json.loads(own_out)
    assert own["environ"].pop("KOPT_WARM", None) is None
    assert told["environ"].pop("KOPT_WARM") == "light"
    assert told == own
    assert (code, err) == (own_code, own_err) == (0, "to stderr\n")
    assert told["environ"]["A_KEY"] == SECRET


def test_a_job_that_builds_is_forked_from_a_parent_with_torch_and_could_fork_a_judge(jobs):
    jobs.environ["KOPT_WARM"] = "torch"
    try:
        job = jobs.start(HEAVY, name="compile")
        out, err = job.communicate()
    finally:
        jobs.environ["KOPT_WARM"] = "light"
    assert (out, err) == ("['kopt.device.build.build', 'torch', 'triton'] 1 1 False\n", "")


def test_a_job_is_forked_from_the_parent(jobs):
    code, out, _ = jobs.run("import sys; print('kopt.stages.select' in sys.modules)")
    assert (code, out) == (0, "True\n")


PLACES = """
import kopt.sandbox.cage, kopt.stages.evaluate
places = set(kopt.sandbox.cage.installed_places())
outer = [str(place) for place in places if not any(place != other and place.is_relative_to(other) for other in places)]
print(sorted(outer), kopt.sandbox.cage.KEPT_VARIABLES)
"""


def test_candidates_of_a_forked_job_may_read_the_same_places(jobs):
    told, own = jobs.run(PLACES), jobs.run(PLACES, warm=False)
    assert told == own
    assert told[0] == 0


@pytest.mark.parametrize(
    "text",
    [
        "raise SystemExit(3)", "raise SystemExit('words')", "import os; os.kill(os.getpid(), 15)", "1 / 0",
        "raise KeyboardInterrupt", "import atexit; atexit.register(print, 'at the end'); print('before')",
        "import os; os.kill(os.getpid(), 9)", "import os; os._exit(255)",
    ],
)  # fmt: skip
def test_a_job_ends_as_in_a_process_of_its_own(jobs, text):
    told, own = jobs.run(text), jobs.run(text, warm=False)
    assert told[:2] == own[:2]
    assert told[2].splitlines()[-1:] == own[2].splitlines()[-1:]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_reaches_the_job_and_ends_both(jobs, number):
    with jobs.start(WAITS) as job:
        pid = int(job.stdout.readline().split()[0])
        job.send_signal(number)
        assert job.wait(20) == -number
        assert job.stderr.read() == ""
    assert gone(pid)


def test_a_job_is_stopped_and_goes_on_with_its_client(jobs):
    with jobs.start(WAITS) as job:
        pid = int(job.stdout.readline().split()[0])
        job.send_signal(signal.SIGTSTP)
        assert comes(lambda: state(pid) == state(job.pid) == "T")
        job.send_signal(signal.SIGCONT)
        assert comes(lambda: state(pid) == state(job.pid) == "S")
        job.terminate()
        assert job.wait(20) == -signal.SIGTERM


def test_a_job_dies_with_its_client_and_so_does_what_it_started(jobs):
    text = "import subprocess; child = subprocess.Popen(['sleep', '60']); print(child.pid, flush=True)\n" + WAITS
    with jobs.start(text) as job:
        child, pid = (int(job.stdout.readline().split()[0]) for _ in range(2))
        job.kill()
    assert gone(pid)
    assert gone(child)


def test_a_job_dies_with_its_keeper_and_its_client_says_so(jobs):
    with jobs.start(WAITS) as job:
        pid, keeper = map(int, job.stdout.readline().split())
        assert Path(f"/proc/{keeper}/comm").read_text().strip() == place.KEEPER
        os.kill(keeper, signal.SIGKILL)
        assert job.wait(20) == -signal.SIGKILL
        assert job.stderr.read().encode() == client.GONE
    assert gone(pid)


def test_a_parent_holds_no_secret_and_a_job_shows_none(jobs):
    jobs.run("")
    assert Path("/proc", str(jobs.pid), "environ").read_bytes().strip(b"\0") == b""
    assert Path("/proc", str(jobs.pid), "cmdline").read_bytes().strip(b"\0") == b""
    if os.getuid() == 0:
        assert SECRET.encode() not in memory(jobs.pid)
    _, out, _ = jobs.run("print(open('/proc/self/environ').read())")
    assert SECRET not in out


def memory(pid: int) -> bytes:
    """The writable private memory of a process."""
    parts = []
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
        for line in maps:
            span, rights = line.split()[:2]
            if rights.startswith("rw"):
                begin, end = (int(part, 16) for part in span.split("-"))
                file.seek(begin)
                parts.append(file.read(end - begin))
    return b"".join(parts)


ASKS = """
import ctypes, os, socket, sys
from kopt.sandbox import landlock
from kopt.warm import wire
from pathlib import Path
path, lock, caged = sys.argv[1:]
if caged == "prctl":
    ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
connection = socket.socket(socket.AF_UNIX)
connection.connect(path)
print(connection.recv(1) or "refused", flush=True)
proof = os.open(lock, os.O_PATH if caged == "path" else os.O_RDONLY)
request = wire.Request([os.path.abspath("planted.py")], [], {}, 0, [], [])
wire.send_request(connection, request, [0, 1, 2, os.open(".", os.O_PATH), proof, wire.make_right()])
try:
    print(wire.receive_status(connection))
except (EOFError, OSError):
    print("refused")
"""


@pytest.mark.parametrize("way", ["prctl", "path", "read"])
def test_who_is_restricted_or_cannot_write_the_lock_gets_nothing_run(jobs, way):
    (jobs.folder / "planted.py").write_text("open('ran', 'w')")
    folder = place.private_folder()
    words = place.socket_path(folder, jobs.name, "light"), place.lock_path(folder, jobs.name), way
    done = jobs.run(ASKS, *words, warm=False)
    assert "refused" in done[1] or "BrokenPipe" in done[2] or done[1].splitlines()[-1] == "1", done
    assert not (jobs.folder / "ran").exists()


@pytest.mark.parametrize("plant", ["open", "link", "other"])
def test_a_folder_that_another_could_have_made_is_refused(monkeypatch, tmp_path, plant):
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    if plant == "link":
        folder.symlink_to(elsewhere)
    else:
        folder.mkdir(mode=0o755 if plant == "open" else 0o700)
    if plant == "other":
        monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    monkeypatch.setattr(place, "FOLDER", str(folder))
    with pytest.raises(place.Odd):
        place.private_folder()


WAITED_FOR = """
import os, time
from kopt.warm.parent import _reap
ends, end = os.pipe()
if os.fork() == 0:
    os.close(end)
    os._exit(len(os.read(ends, 1)))
assert _reap(0)
os.close(end)
while _reap(0):
    time.sleep(0.01)
"""


def test_a_parent_is_idle_when_the_last_of_its_jobs_has_ended():
    subprocess.run([sys.executable, "-c", WAITED_FOR], cwd=ROOT, check=True, timeout=60)


def test_an_unfinished_parent_does_not_hold_a_job_up(tmp_path):
    """Sockets on which nobody answers any more are replaced."""
    jobs = Jobs(tmp_path)
    assert jobs.run("print(1)")[:2] == (0, "1\n")
    before = jobs.parents()
    ours = next(pid for name, pid in before.items() if "kopt-warm" in Path("/proc", str(pid), "comm").read_text())
    with jobs.start(WAITS) as job:
        pid, _ = map(int, job.stdout.readline().split())
        (mine,) = [parent for parent in before.values() if pid in descendants([parent])[parent]]
        os.kill(mine, signal.SIGKILL)
        assert ours
        assert not gone_at_once(pid)
        assert jobs.run("print(2)")[:2] == (0, "2\n")
        job.send_signal(signal.SIGTERM)
        assert job.wait(20) == -signal.SIGTERM
    for name, light in jobs.parents().items():
        if before.get(name, 0) != light or light == mine:
            os.kill(light, signal.SIGTERM)


def gone_at_once(pid: int) -> bool:
    return not Path("/proc", str(pid)).exists()


def test_an_edit_ends_the_parent_and_the_job_sees_it(project):
    jobs = Jobs(project.folder, project.folder)
    text = "import kopt.neutral; print(getattr(kopt.neutral, 'EDITED', 0))"
    assert jobs.run(text)[:2] == (0, "0\n")
    (pid,) = jobs.parents().values()
    with (project.folder / "kopt/neutral.py").open("a") as file:
        file.write("\nEDITED = 1\n")
    assert jobs.run(text)[:2] == (0, "1\n")
    assert gone(pid)


def test_two_jobs_at_once_start_one_parent_and_the_run_s_end_ends_it(project):
    jobs = Jobs(project.folder, project.folder)
    both = [jobs.start("print(1)") for _ in range(2)]
    assert [job.communicate()[0] for job in both] == ["1\n", "1\n"]
    (pid,) = jobs.parents().values()
    subprocess.run(
        [sys.executable, "-P", "-c", "from kopt.warm.ends import end_idle_parents as end; end()"],
        env=jobs.environ, check=True,
    )  # fmt: skip
    assert gone(pid)
    assert jobs.parents() == {}


def test_a_parent_that_was_started_ahead_is_the_one_that_jobs_ask(project):
    """It is started by Snakemake's process, and a job by a shell that names the checkout and the temporary folder."""
    jobs = Jobs(project.folder, project.folder)
    del jobs.environ["PYTHONPATH"]
    jobs.environ |= {"KOPT_HOME": str(project.folder), "KOPT_PYTHON": sys.executable}
    of_a_job = jobs.environ | dict.fromkeys(("TMPDIR", "TMP"), tempfile.gettempdir())
    ahead = "from kopt.warm.connect import let_start_ahead as ahead; ahead()"
    subprocess.run([sys.executable, "-c", ahead], cwd=project.folder, env=jobs.environ, check=True)
    assert comes(lambda: len(jobs.parents()) == 1)
    before = jobs.parents()
    (project.folder / "script.py").write_text("import os, sys; print('kopt.stages.select' in sys.modules)")
    command = (
        'PYTHONPATH="$KOPT_HOME${PYTHONPATH:+:$PYTHONPATH}" "$KOPT_PYTHON" -P "$KOPT_HOME"/workflow/start.py script.py'
    )
    done = subprocess.run(
        ["bash", "-c", command], cwd=project.folder, env=of_a_job, capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\n"
    assert jobs.parents() == before
    os.kill(*before.values(), signal.SIGTERM)


def test_the_end_of_a_run_removes_what_a_killed_parent_left(project):
    jobs = Jobs(project.folder, project.folder)
    assert jobs.run("")[0] == 0
    ((name, pid),) = jobs.parents().items()
    os.kill(pid, signal.SIGKILL)
    assert gone(pid)
    left = Path(place.private_folder()).glob(f"{name}.*")
    assert len(list(left)) == 5  # two sockets, note, lock, log
    elsewhere = jobs.environ | {"SLURM_JOB_ID": "another"}
    end = [sys.executable, "-P", "-c", "from kopt.warm.ends import end_idle_parents as end; end()"]
    subprocess.run(end, env=elsewhere, check=True)
    assert not list(Path(place.private_folder()).glob(f"{name}.*"))


def test_ctrl_c_ends_a_search_with_parents_and_its_jobs(project):
    command = project.command(*project.DRY, "warm=true", options=("--quiet", "all"), full=False)
    with subprocess.Popen(
        command, cwd=project.folder, text=True, stdout=subprocess.PIPE, start_new_session=True
    ) as search:
        while not search.stdout.readline().startswith("R0"):
            assert search.poll() is None
        os.killpg(search.pid, signal.SIGINT)
        search.stdout.read()
    assert Jobs(project.folder, project.folder).parents() == {}


def test_a_search_of_a_comparison_leaves_its_parents_to_the_next_one(project, monkeypatch):
    parents = Jobs(project.folder, project.folder).parents
    words = (*project.DRY, "rounds=1", "max_repairs=0", "warm=true")
    monkeypatch.setenv(ends.STAYS, "1")
    project.succeeds(*words)
    left = parents()
    assert len(left) == 1
    monkeypatch.delenv(ends.STAYS)
    project.succeeds(*words, "seed=1")
    assert gone(*left.values())
    assert parents() == {}


def test_a_search_with_parents_writes_the_same_bytes_and_a_switch_runs_nothing_again(project):
    words = (*project.DRY, "rounds=1", "max_repairs=0")
    project.succeeds(*words, "warm=true")
    results = project.folder / "results" / "t"
    warm = contents(results)
    assert project.planned(*words, "warm=false") == set()
    shutil.rmtree(project.folder / "results")
    project.succeeds(*words, "warm=false")
    assert contents(results) == warm


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if told_no_time(path)}


def told_no_time(path: Path) -> bool:
    return path.suffix not in (".log", ".lock") and path.name not in ("started.json", "report.html")
