"""`kopt evaluate`, `kopt doctor` and `kopt exploits` where there is no GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kopt.cli import COMMANDS, main
from kopt.command_line.group import command_names
from kopt.commands.parts import examination
from kopt.commands.parts.arguments import kernel_text
from kopt.commands.parts.evaluation import Evaluated, estimated_time, in_words, measured_time
from kopt.device.hardware.gpus import Gpu
from kopt.model.environment import Conditions
from kopt.model.timing import Estimated, Measured, WorkloadEstimate, WorkloadTiming
from kopt.sandbox.cage import cage_features

ROOT = Path(__file__).resolve().parents[2]
SEED = ROOT / "config" / "problems" / "softmax" / "kernel.py"
HIDDEN = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}


def test_each_module_of_the_package_is_a_command_under_its_own_name(capsys):
    for name in command_names(COMMANDS):
        assert main([name, "--help"]) == 0
        assert f" Usage: kopt {name} " in capsys.readouterr().out


def test_help_lists_every_command_and_imports_nothing_slow():
    slow = ("torch", "triton", "snakemake", "numpy", "pandas", "pyarrow", "openai", "anthropic")
    program = f"""
import sys
from kopt.cli import main
assert main(["--help"]) == 0
print([name for name in {slow} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert all(f"\n│ {name} " in done.stdout for name in command_names(COMMANDS))


def kopt(*words, environment=HIDDEN):
    """Status, stdout and stderr of a command."""
    done = subprocess.run(
        [sys.executable, "-m", "kopt.cli", *map(str, words)],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


EVALUATE = ("evaluate", "--problem", "softmax", "--json")


@pytest.fixture
def evaluate(monkeypatch, capfd):
    """Evaluate a kernel without a process of the command's own; return the status and the answer."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.chdir(ROOT)

    def evaluated(file):
        status, said = main([*EVALUATE, str(file)]), capfd.readouterr()
        assert not said.err
        return status, json.loads(said.out)

    return evaluated


def changed(folder: Path, old: str, new: str) -> Path:
    source = SEED.read_text()
    assert old in source
    (folder / "changed.py").write_text(source.replace(old, new))
    return folder / "changed.py"


def test_the_seed_passes_with_an_estimated_time_as_long_as_the_seed_s(tmp_path):
    status, out, err = kopt(*EVALUATE, SEED, "--store", tmp_path / "store")
    assert not err
    one = json.loads(out)
    assert (status, one["status"], one["judged_by"], one["phase"]) == (0, "passed", "interpret", "")
    assert len(one["fingerprint"]) == 64
    assert len({check["distribution"] for check in one["checks"]}) >= 3
    time = one["time"]
    assert (time["kind"], time["ratio"], time["ratio_low"]) == ("estimated", 1.0, None)
    assert (time["environment"], time["conditions"]) == (None, [])
    assert [w["workload"] for w in time["workloads"]] == ["b4096_n8192"]
    assert 0.0 < time["roofline_share"] <= 1.0
    assert list((tmp_path / "store" / "cubin").rglob("*.cubin"))
    words = in_words(Evaluated.model_validate(one)).splitlines()
    assert words[0] == "passed, judged by interpret"
    assert "ms, estimated, NVIDIA H100" in words[-1]


def test_a_wrong_kernel_does_not_pass_and_has_no_time(tmp_path, evaluate):
    status, one = evaluate(changed(tmp_path, "/ row_sum", "/ (row_sum + row_sum)"))
    assert (status, one["status"], one["time"]) == (1, "incorrect", None)
    assert "given inputs: 32154 of 32768 elements are wrong" in one["reason"]


def test_a_kernel_that_does_not_compile_fails_in_its_phase(tmp_path, evaluate):
    status, one = evaluate(changed(tmp_path, "tl.exp(", "tl.expp("))
    assert (status, one["status"], one["judged_by"], one["phase"]) == (1, "failed", "build", "compile")
    assert "expp" in one["reason"]


def test_bad_input_is_status_2_and_one_line():
    status, out, err = kopt("evaluate", SEED, "--problem", "softmacks")
    assert (status, out) == (2, "")
    assert err.startswith("kopt: error: ")
    assert "did you mean 'softmax'?" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["exploits", "--workers", "0"], "'0' is not a whole number of at least 1"),
        (["exploits", "--workers", "two"], "'two' is not a whole number of at least 1"),
        (["exploits", "--seconds", "nan"], "'nan' is not a number of seconds above 0"),
        (["exploits", "--seconds", "-1"], "'-1' is not a number of seconds above 0"),
        (["evaluate", SEED, "--problem", "softmax", "--wait", "inf"], "'inf' is not a number of seconds above 0"),
        (["evaluate", SEED, "--problem", "softmax", "--repeat", "0"], "'0' is not a whole number of at least 1"),
        (["evaluate", SEED, "--problem", "softmax", "--seed", "-3"], "'-3' is not a whole number of at least 0"),
    ],
)
def test_a_number_that_cannot_be_is_refused_before_anything_runs(words, wanted, capsys):
    assert wanted in refused(capsys, *words)


def refused(capsys, *words):
    """What a command says that ends with status 2 and one line, without a process of its own."""
    status, said = main([*map(str, words)]), capsys.readouterr()
    assert (status, said.out) == (2, "")
    assert said.err.startswith("kopt: error: ")
    assert said.err.count("\n") == 1
    return said.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.py", "--problem", "softmax"], "nowhere.py cannot be read"),
        ([SEED, "--problem", "softmax", "--device", "h101"], "h101"),
        ([SEED, "--problem", "softmax", "--judge", "cuda"], "no GPU is visible"),
    ],
)
def test_bad_input_is_refused(words, said, capsys, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert said in refused(capsys, "evaluate", *words)


@pytest.mark.parametrize("command", ["build", "evaluate"])
def test_a_store_that_cannot_be_a_folder_is_refused_before_anything_runs(tmp_path, capsys, command):
    file, loop = tmp_path / "file", tmp_path / "loop"
    file.touch()
    loop.symlink_to("loop")
    for store in (file, file / "deeper", loop):
        assert "is not a folder" in refused(capsys, command, SEED, "--problem", "softmax", "--store", store)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (bytes(range(256)), "is not UTF-8 text"),
        ("# -*- coding: latin-1 -*-\n# \xe9\n".encode("latin-1"), "is not UTF-8 text"),
    ],
)
def test_a_kernel_that_is_no_text_is_refused(tmp_path, capsys, content, said):
    (tmp_path / "kernel.py").write_bytes(content)
    assert said in refused(capsys, "evaluate", tmp_path / "kernel.py", "--problem", "softmax")


def test_what_is_no_file_is_refused_and_a_pipe_keeps_nobody_waiting(tmp_path, capsys):
    pipe, loop = tmp_path / "pipe", tmp_path / "loop"
    os.mkfifo(pipe)
    loop.symlink_to("loop")
    for path in (pipe, loop, tmp_path, tmp_path / ("x" * 300)):
        for words in (["evaluate", path, "--problem", "softmax"], ["build", path, "--problem", "softmax"]):
            assert "it is not a file; give a kernel's Python file" in refused(capsys, *words)
        assert "it is not a file; give a YAML file" in refused(capsys, "cost", "--configfile", path)
        for command in ("unpack", "replay"):
            assert "it is not a file; give an archive" in refused(capsys, command, path, "--store", tmp_path)


def test_a_byte_order_mark_is_no_part_of_a_kernel(tmp_path):
    """All commands read kernels by this function."""
    (tmp_path / "kernel.py").write_text(SEED.read_text(), encoding="utf-8-sig")
    assert kernel_text(tmp_path / "kernel.py") == SEED.read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--config", "judge"], "--config judge: write NAME=VALUE"),
        (["--config", "judge=["], "'[' is not YAML"),
        (["--config", "seed=2020-13-45"], "'2020-13-45' is not YAML"),
        (["--configfile", "missing.yaml"], "missing.yaml cannot be read"),
    ],
)
def test_settings_that_cannot_be_read_are_refused(capsys, words, said):
    assert said in refused(capsys, "cost", *words)


def test_a_path_to_no_problem_is_refused(tmp_path, capsys):
    assert "; problems are gemma3_swiglu, " in refused(capsys, "evaluate", SEED, "--problem", f"{tmp_path}/../etc")


def test_doctor_says_in_one_line_how_a_run_judges_without_a_gpu():
    status, out, _ = kopt("doctor")
    (line,) = [line for line in out.splitlines() if "GPU" in line]
    assert (status, line) == (
        0,
        "no GPU: kernels are verified by kopt's interpreter, and their times are estimated",
    )
    assert "fault" not in out


def test_doctor_tells_programs_what_it_tells_people():
    status, out, _ = kopt("doctor", "--json")
    found = json.loads(out)
    assert status == 0
    assert set(found["versions"]) == {"python", "torch", "triton", "snakemake"}
    assert all(found["versions"].values())
    assert (found["judge"], found["gpus"], found["rates"], found["noise"]) == ("interpret", [], None, None)
    assert found["cage"] == cage_features()
    assert (found["faults"], found["models"]) == ([], [])


def test_doctor_names_what_a_run_would_stumble_over():
    status, out, _ = kopt("doctor", "--config", "judge=cuda")
    assert status == 1
    assert any("no GPU is visible" in line for line in out.splitlines() if line.startswith("fault: "))


def test_exploits_are_refused_and_honest_kernels_pass(monkeypatch, capfd):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.chdir(ROOT)
    assert main(["exploits", "--judge", "interpret", "--only", "zero_work", "cached_workspace", "--json"]) == 0
    became = {one["name"]: one["judge"] for one in json.loads(capfd.readouterr().out)}
    assert became.pop("cached_workspace") == "passed"
    assert set(became) == {"zero_work"}
    assert "passed" not in became.values()


def test_an_unknown_exploit_is_refused_with_the_nearest_name():
    status, _, err = kopt("exploits", "--only", "zero_wrok")
    assert status == 2
    assert "did you mean 'zero_work'?" in err


def timing(*samples: tuple[float, ...]) -> Measured:
    workloads = [
        WorkloadTiming(
            workload=f"w{at}", median_ms=times[0], low_ms=times[0], high_ms=times[0], samples_ms=times, floor_ms=0.5
        )
        for at, times in enumerate(samples)
    ]
    state = Conditions(sm_clock_mhz=(1, 2), temperature_c=3, power_w=4.0, throttle=("power cap",))
    return Measured(device="d", workloads=tuple(workloads), conditions=(state,))


def test_a_measured_ratio_is_taken_call_by_call_on_each_workload_and_over_all():
    one = measured_time(timing((1.0, 2.0), (4.0, 4.0)), timing((2.0, 4.0), (2.0, 2.0)))
    assert [w.ratio for w in one.workloads] == [pytest.approx(0.5), pytest.approx(2.0)]
    assert (one.ratio, one.ratio_low, one.ratio_high) == pytest.approx((1.0, 1.0, 1.0))
    assert one.conditions[0].throttle == ("power cap",)


def test_without_a_time_of_the_seed_there_is_no_ratio():
    assert measured_time(timing((1.0, 2.0)), None).ratio is None
    estimate = WorkloadEstimate(
        workload="w", ms=1.0, memory_ms=1.0, compute_ms=0.0, launch_ms=0.0, floor_ms=0.5, bound="memory"
    )
    assert estimated_time(Estimated(device="d", workloads=(estimate,)), None).workloads[0].ratio is None


def test_doctor_lists_every_gpu_and_why_counters_cannot_be_read():
    gpu = Gpu(uuid="GPU-1", name="H100", memory_bytes=80 << 30, driver="570.1", arch=90, index=0)
    found = examination.Examination(
        versions={"python": "3.11"}, gpus=(gpu, gpu), judge="cuda", cage={"user namespace": False}, landlock_abi=0,
        counters=examination.Counters(ncu="/usr/bin/ncu", readable=False, detail="this user may not read them"),
    )  # fmt: skip
    lines = examination.in_words(found)
    assert lines.count("GPU: H100, GPU-1, 80.0 GiB, driver 570.1") == 2
    assert "kernels are verified and timed on the GPU" in lines
    assert "counters: cannot be read: this user may not read them (/usr/bin/ncu)" in lines
