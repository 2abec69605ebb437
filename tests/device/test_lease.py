import os
import pickle
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from kopt.device.hardware.gpus import Gpu
from kopt.device.hardware.lease import GpuBusy, Holder, have_again, lease, lend
from kopt.errors import DeviceError
from kopt.jobs import on_gpu
from kopt.store import Store
from tests.device.ends import ends

GPUS = [Gpu(uuid=f"GPU-{at}", name="H100", memory_bytes=1, driver="1", arch=90, index=at) for at in range(2)]

PREAMBLE = """
import os, random, signal, sys, time
from pathlib import Path
from kopt.device.hardware.gpus import Gpu
from kopt.device.hardware.lease import lease
folder = Path(sys.argv[1])
count = int(sys.argv[2])
gpus = [Gpu(uuid=f"GPU-{at}", name="H100", memory_bytes=1, driver="1", arch=90, index=at) for at in range(count)]
"""

HOLD = (
    PREAMBLE
    + """
with lease(gpus, wait_s=20, workers_per_gpu=2, folder=folder) as held, held.exclusive(20):
    print("held", flush=True)
    time.sleep(60)
"""
)

HOLD_WITH_CHILD = (
    PREAMBLE
    + """
from kopt.sandbox.cage import die_with_parent
from tests.device.ends import ends
with lease(gpus, wait_s=20, folder=folder):
    parent = os.getpid()
    child = os.fork()
    if not child:
        for name in os.listdir("/proc/self/fd"):
            if int(name) > 2:
                try: os.close(int(name))
                except OSError: pass
        die_with_parent(parent)
        time.sleep(60)
    print(child, flush=True)
    time.sleep(60)
"""
)

LEND = (
    PREAMBLE
    + """
from kopt.device.hardware.lease import have_again, lend
with lease(gpus, wait_s=20, folder=folder):
    child = os.fork()
    if not child:
        with lend():
            print("lent", flush=True)
            sys.stdin.readline()
            if DIES: os._exit(1)
        print("again", flush=True)
        sys.stdin.readline()
        os._exit(0)
    os.waitpid(child, 0)
    have_again()
    print("over", flush=True)
    sys.stdin.readline()
"""
)

CONTEND = (
    PREAMBLE
    + """
random.seed(sys.argv[3])
with lease(gpus, wait_s=60, workers_per_gpu=4, folder=folder) as held:
    for turn in range(25):
        if random.random() < 0.5:
            with held.shared(60):
                marker = folder / f"shared-{held.gpu.uuid}-{os.getpid()}"
                marker.touch()
                assert not (folder / f"alone-{held.gpu.uuid}").exists(), "used while it was leased alone"
                time.sleep(random.random() / 500)
                marker.unlink()
        else:
            with held.exclusive(60):
                marker = folder / f"alone-{held.gpu.uuid}"
                os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
                assert not list(folder.glob(f"shared-{held.gpu.uuid}-*")), "leased alone while it was used"
                time.sleep(random.random() / 500)
                marker.unlink()
"""
)


def start(program: str, folder: Path, gpus: int = 1, seed: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, str(folder), str(gpus), str(seed)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def started(program: str, folder: Path) -> tuple[subprocess.Popen[str], str]:
    process = start(program, folder)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def killed(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    assert process.stdin is not None
    process.stdout.close()
    process.stdin.close()


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def says(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def is_busy(folder: Path) -> bool:
    try:
        with lease(GPUS[:1], wait_s=0.02, folder=folder):
            return False
    except GpuBusy:
        return True


def test_a_gpu_that_stays_busy_is_told_by_the_process_that_waited_to_the_one_that_asked():
    busy = GpuBusy("GPU-1", 5.0, [Holder(pid=7, host="node", command="train.py")])
    again = pickle.loads(pickle.dumps(busy))
    assert (type(again), str(again), again.holders) == (GpuBusy, str(busy), busy.holders)


def test_never_two_holders_of_one_exclusive_lease(tmp_path):
    running = [start(CONTEND, tmp_path, gpus=2, seed=seed) for seed in range(6)]
    assert [(process.wait(), process.communicate())[0] for process in running] == [0] * 6


def test_killed_holder_strands_nobody(tmp_path):
    holder, line = started(HOLD, tmp_path)
    assert line == "held"
    holder.send_signal(signal.SIGKILL)
    with lease(GPUS[:1], wait_s=10, workers_per_gpu=2, folder=tmp_path) as held, held.exclusive(10):
        killed(holder)


def test_child_that_closed_the_lock_dies_with_a_killed_holder(tmp_path):
    holder, line = started(HOLD_WITH_CHILD, tmp_path)
    killed(holder)
    assert ends(int(line))


def test_wait_is_bounded_and_names_the_holder(tmp_path):
    holder, _ = started(HOLD, tmp_path)
    try:
        with lease(GPUS[:1], wait_s=10, workers_per_gpu=2, folder=tmp_path) as held:
            with (
                pytest.raises(
                    GpuBusy, match=f"GPU-0 while nothing is timed, held by process {holder.pid} on"
                ) as shared,
                held.shared(0.05),
            ):
                pass
            with pytest.raises(GpuBusy, match="alone"), held.exclusive(0.05):
                pass
            every_slot = lease(GPUS[:1], wait_s=0.05, workers_per_gpu=2, folder=tmp_path)
            with pytest.raises(GpuBusy, match="one of 2 slots on GPU-0"), every_slot:
                pass
        assert [other.pid for other in shared.value.holders] == [holder.pid]
        assert "python" in shared.value.holders[0].command
    finally:
        killed(holder)


@pytest.mark.parametrize(("dies", "after"), [("False", "again"), ("True", "over")])
def test_a_gpu_that_a_fork_lends_is_had_again_after_its_borrower(dies, after, tmp_path):
    lender, line = started(f"DIES = {dies}\n{LEND}", tmp_path)
    try:
        assert line == "lent"
        with lease(GPUS[:1], wait_s=10, folder=tmp_path) as held:
            go_on(lender)
            while not list(held.folder.glob("*.turn")):
                time.sleep(0.01)
        assert says(lender) == after
        assert is_busy(tmp_path)
    finally:
        killed(lender)


def test_what_a_gpu_was_lent_for_is_not_counted_as_held(tmp_path, caplog):
    caplog.set_level("INFO")
    with lease(GPUS[:1], wait_s=1, folder=tmp_path), lend(), lend():
        assert not is_busy(tmp_path)
    assert "lent for" in caplog.messages[-1]
    caplog.clear()
    with lease(GPUS[:1], wait_s=1, folder=tmp_path):
        assert is_busy(tmp_path)
    assert "lent for" not in caplog.messages[-1]


def test_a_job_that_has_waited_long_for_its_gpu_lends_it_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr("kopt.device.hardware.lease.LENT_WAIT_S", -1.0)
    with lease(GPUS[:1], wait_s=1, folder=tmp_path), lend():
        assert is_busy(tmp_path)


def test_a_lent_gpu_that_does_not_come_back_is_an_error_that_names_who_has_it(tmp_path, monkeypatch):
    monkeypatch.setattr("kopt.device.hardware.lease.AGAIN_S", 0.05)
    with (
        lease(GPUS[:1], wait_s=1, folder=tmp_path),
        ExitStack() as borrower,
        pytest.raises(GpuBusy, match=f"GPU-0, which was lent, held by process {os.getpid()} on"),
        lend(),
    ):
        borrower.enter_context(lease(GPUS[:1], wait_s=1, folder=tmp_path))


def test_lending_without_a_lease_changes_nothing():
    with lend():
        have_again()


def test_gpus_fill_evenly_up_to_their_slots(tmp_path):
    with ExitStack() as stack:
        taken = [stack.enter_context(lease(GPUS, wait_s=1, workers_per_gpu=2, folder=tmp_path)) for _ in range(4)]
        slots = [(held.gpu.uuid, held.slot) for held in taken]
        assert slots == [("GPU-0", 0), ("GPU-1", 0), ("GPU-0", 1), ("GPU-1", 1)]
        with pytest.raises(GpuBusy):
            stack.enter_context(lease(GPUS, wait_s=0.02, workers_per_gpu=2, folder=tmp_path))


def test_holders_of_a_shared_lease_do_not_wait_for_each_other(tmp_path):
    with (
        lease(GPUS[:1], wait_s=1, workers_per_gpu=2, folder=tmp_path) as first,
        lease(GPUS[:1], wait_s=1, workers_per_gpu=2, folder=tmp_path) as second,
        first.shared(1),
        second.shared(1),
        pytest.raises(GpuBusy),
        first.exclusive(0.02),
    ):
        pass
    with lease(GPUS[:1], wait_s=1, folder=tmp_path) as held, held.exclusive(1):
        pass


def test_a_lease_says_how_to_bind_a_process_and_binds_none_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with lease(GPUS[1:], wait_s=1, folder=tmp_path) as held:
        assert held.gpu.environment == {"CUDA_VISIBLE_DEVICES": "GPU-1"}
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"


@pytest.mark.parametrize("before", [None, "1"])
def test_a_job_is_bound_to_the_gpu_that_it_leased_and_set_free_again(before, tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if before is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", before)
    monkeypatch.setattr(on_gpu, "lease", partial(lease, folder=tmp_path))
    monkeypatch.setattr(on_gpu, "visible_gpus", lambda environment: GPUS[1:])
    peaks = SimpleNamespace(known_device=lambda store: "described")
    monkeypatch.setitem(sys.modules, "kopt.device.hardware.peaks", peaks)
    with on_gpu.leased(Store(tmp_path), wait_s=1) as device:
        assert (device, os.environ["CUDA_VISIBLE_DEVICES"]) == ("described", "GPU-1")
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == before


def test_no_visible_gpu_is_an_error_at_once(tmp_path):
    with pytest.raises(DeviceError, match="no GPU is visible"), lease([], wait_s=60, folder=tmp_path):
        pass


def test_leasing_imports_no_torch():
    program = "import sys, kopt.device.hardware.lease\nprint('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "False\n"


@pytest.mark.gpu
def test_lease_after_cuda_is_refused(tmp_path):
    program = (
        "import os, torch\nfrom pathlib import Path\nfrom kopt.device.hardware.gpus import visible_gpus\n"
        "from kopt.device.hardware.lease import lease\nfrom kopt.errors import DeviceError\n"
        f"with lease(visible_gpus(os.environ), wait_s=5, folder=Path({str(tmp_path)!r})):\n"
        "    torch.zeros(1, device='cuda')\n"
        "try:\n"
        f"    lease(visible_gpus(os.environ), wait_s=5, folder=Path({str(tmp_path)!r})).__enter__()\n"
        "except DeviceError as error:\n    assert 'initialised already' in str(error)\n"
        "else:\n    raise SystemExit('a second lease was given')\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
