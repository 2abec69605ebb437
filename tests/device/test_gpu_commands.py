"""`kopt evaluate`, `kopt doctor` and `kopt exploits` on a GPU, each in a process of its own as a user calls it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kopt.device.hardware.gpus import visible_gpus

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).resolve().parents[2]
SEED = ROOT / "config" / "problems" / "softmax" / "kernel.py"
SOURCE = SEED.read_text()


def kopt(*words, **environment):
    done = subprocess.run(
        [sys.executable, "-m", "kopt.cli", *map(str, words)],
        cwd=ROOT, env=os.environ | environment, capture_output=True, text=True,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def evaluate(file, *words, **environment):
    status, out, err = kopt("evaluate", file, "--problem", "softmax", "--json", *words, **environment)
    assert out, err[-3000:]
    return status, json.loads(out)


def written(folder: Path, source: str) -> Path:
    (folder / "kernel.py").write_text(source)
    return folder / "kernel.py"


def wrapped(body: str) -> str:
    """The seed, with `kernel_function` renamed to `honest` and another one in its place."""
    assert "def kernel_function(" in SOURCE
    return SOURCE.replace("def kernel_function(", "def honest(") + "\n\n" + body


@pytest.fixture(scope="module")
def of_seed():
    return evaluate(SEED)


def test_the_seed_passes_on_the_gpu_that_is_visible(of_seed):
    status, one = of_seed
    assert (status, one["status"], one["judged_by"], one["reason"]) == (0, "passed", "cuda", "")
    assert len(one["checks"]) >= 5
    assert len({check["distribution"] for check in one["checks"]}) >= 3
    assert len(one["fingerprint"]) == 64
    gpus = {gpu.uuid: gpu for gpu in visible_gpus(os.environ)}
    environment = one["time"]["environment"]
    gpu = gpus[environment["uuid"]]
    assert (gpu.driver, gpu.arch) == (environment["driver"], one["toolchain"]["arch"])


def test_a_measured_time_has_intervals_and_the_state_of_the_gpu(of_seed):
    time = of_seed[1]["time"]
    (workload,) = time["workloads"]
    assert time["kind"] == "measured"
    assert workload["low_ms"] <= workload["ms"] <= workload["high_ms"]
    assert workload["floor_ms"] < workload["ms"]
    assert workload["wall_ms"] > 0.0
    assert 0.0 < time["roofline_share"] < 1.0
    assert time["conditions"]
    assert all(state["sm_clock_mhz"][1] > 0 for state in time["conditions"])


def test_the_seed_takes_as_long_as_itself(of_seed):
    time = of_seed[1]["time"]
    assert time["ratio_low"] <= time["ratio"] <= time["ratio_high"]
    assert time["ratio"] == pytest.approx(1.0, abs=0.05)


def test_a_kernel_that_works_twice_is_slower_than_the_seed(tmp_path):
    twice = wrapped("def kernel_function(x):\n    honest(x)\n    return honest(x)\n")
    status, one = evaluate(written(tmp_path, twice), "--repeat", "20")
    assert (status, one["status"]) == (0, "passed"), one["reason"]
    assert one["time"]["ratio_low"] > 1.2


def test_a_wrong_kernel_does_not_pass_and_has_no_time(tmp_path):
    status, one = evaluate(written(tmp_path, SOURCE.replace("/ row_sum", "/ (row_sum + row_sum)")))
    assert (status, one["status"], one["judged_by"], one["time"]) == (1, "incorrect", "cuda", None)


def test_a_kernel_that_does_not_compile_does_not_reach_the_gpu(tmp_path):
    status, one = evaluate(written(tmp_path, SOURCE.replace("tl.exp(", "tl.expp(")))
    assert (status, one["status"], one["judged_by"], one["phase"]) == (1, "failed", "build", "compile")


def test_the_interpreter_judges_where_it_is_asked_for_or_the_gpu_is_hidden():
    asked, hidden = evaluate(SEED, "--judge", "interpret"), evaluate(SEED, CUDA_VISIBLE_DEVICES="")
    assert asked == hidden
    assert (asked[0], asked[1]["judged_by"], asked[1]["time"]["kind"]) == (0, "interpret", "estimated")


HOLD = """
import os
from kopt.device.hardware.gpus import visible_gpus
from kopt.device.hardware.lease import lease
with lease(visible_gpus(os.environ), wait_s=60):
    print("held", flush=True)
    input()
"""


def test_a_gpu_that_somebody_holds_is_waited_for_no_longer_than_said():
    only = visible_gpus(os.environ)[0].uuid
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], cwd=ROOT, env=os.environ | {"CUDA_VISIBLE_DEVICES": only},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as holder:  # fmt: skip
        assert holder.stdout.readline() == "held\n"
        words = ("evaluate", SEED, "--problem", "softmax", "--wait", "1")
        status, out, err = kopt(*words, CUDA_VISIBLE_DEVICES=only)
        holder.communicate("\n")
    assert (status, out) == (2, "")
    assert "waited 1 s" in err
    assert str(holder.pid) in err


def test_doctor_describes_and_measures_the_gpu(tmp_path):
    settings = ("--config", "problem=softmax", f"store={tmp_path}/store")
    status, out, err = kopt("doctor", "--json", *settings)
    assert out, err[-3000:]
    found = json.loads(out)
    assert (status, found["faults"], found["models"]) == (0, [], [])
    assert found["judge"] == "cuda"
    assert {gpu["uuid"] for gpu in found["gpus"]} == {gpu.uuid for gpu in visible_gpus(os.environ)}
    assert found["rates"]["measured"]
    assert found["rates"]["copy_gb_s"] > 100
    assert min(found["rates"]["matmul_tflop_s"].values()) > 1
    assert found["noise"]["batches"] >= 5
    assert 0.0 < found["noise"]["floor"] < 0.05
    assert (found["counters"]["readable"] is None) == (not found["counters"]["ncu"])
    assert list((tmp_path / "store" / "peaks").rglob("*.json"))


def test_exploits_are_caught_and_honest_kernels_pass():
    names = ("cheap_later", "cached_by_pointer", "torch_when_watched", "cached_workspace", "accumulate_in_place")
    status, out, err = kopt("exploits", "--only", *names, "--workers", "4", "--json")
    assert status == 0, out + err[-3000:]
    became = {one["name"]: one["judge"] for one in json.loads(out)}
    honest = [became[name] for name in ("cached_workspace", "accumulate_in_place")]
    assert honest == ["passed", "passed"]
    assert "passed" not in [became[name] for name in names[:3]]
