import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kopt.device.hardware.gpus import Gpu
from kopt.device.hardware.turns import STOPPED_S, turn
from kopt.errors import DeviceError

GPU = Gpu(uuid="GPU-0", name="H100", memory_bytes=1, driver="1", arch=90, index=0)
WAITS = """
import sys
from pathlib import Path
from kopt.device.hardware.gpus import Gpu
from kopt.device.hardware.lease import lease
gpus = [Gpu(uuid="GPU-0", name="H100", memory_bytes=1, driver="1", arch=90, index=0)]
with lease(gpus, wait_s=60, folder=Path(sys.argv[1])):
    with open(sys.argv[2], "a") as order:
        order.write(sys.argv[3])
"""


def test_turns_come_in_the_order_in_which_they_were_asked_for(tmp_path):
    with turn(tmp_path) as first, turn(tmp_path) as second:
        with turn(tmp_path) as third:
            assert [one.has_come() for one in (first, second, third)] == [True, False, False]
        first.path.unlink()
        assert second.has_come()
    assert not list(tmp_path.iterdir())


def test_a_patient_process_lets_those_go_first_who_ask_soon_after_it(tmp_path):
    with turn(tmp_path, patience_s=60.0) as patient, turn(tmp_path) as hasty:
        assert (patient.has_come(), hasty.has_come()) == (False, True)
        hasty.path.unlink()
        assert patient.has_come()


def test_a_process_that_was_stopped_is_passed_over_until_it_goes_on(tmp_path):
    with turn(tmp_path) as first, turn(tmp_path) as second:
        long_ago = time.time() - 2 * STOPPED_S
        os.utime(first.path, (long_ago, long_ago))
        assert second.has_come()
        first.touched_at -= STOPPED_S
        assert first.has_come()
        assert not second.has_come()


def test_the_place_of_a_process_that_ended_is_removed(tmp_path):
    dead = tmp_path / f"{0:020}-1.turn"
    dead.touch()
    with turn(tmp_path) as here:
        assert here.has_come()
        assert not dead.exists()


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(DeviceError, match="cannot wait for a GPU in"), turn(tmp_path / "missing"):
        pass


def test_who_asked_first_gets_the_gpu_first(tmp_path):
    folder, order = tmp_path / GPU.uuid, tmp_path / "order"
    folder.mkdir()
    with turn(folder) as here:  # who comes now waits behind this process
        waiting = []
        for name in "abc":
            command = [sys.executable, "-c", WAITS, str(tmp_path), str(order), name]
            waiting.append(subprocess.Popen(command))
            _until(folder, 1 + len(waiting))
        assert here.has_come()
    assert [one.wait(60) for one in waiting] == [0, 0, 0]
    assert order.read_text() == "abc"


def _until(folder: Path, count: int) -> None:
    end = time.monotonic() + 60
    while len(list(folder.glob("*.turn"))) != count:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_files_are_open_to_every_user_of_the_machine(tmp_path: Path):
    with turn(tmp_path) as here:
        assert here.path.stat().st_mode & 0o666 == 0o666
