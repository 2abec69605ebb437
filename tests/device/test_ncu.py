import ast
import inspect
import math
import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kopt.backends import cuda_profile
from kopt.device.build.build import BuildJob, build_all
from kopt.device.build.precompiled import compiled
from kopt.device.ncu import count as profiling
from kopt.device.ncu import target
from kopt.device.ncu.count import Counting, count
from kopt.device.ncu.csv import METRICS, TIME, LaunchCounters, NotCounters, parse, together
from kopt.device.ncu.job import ProfileJob
from kopt.device.ncu.outcome import Counted, NotCounted, outcome
from kopt.device.ncu.profile import counters_profile, foreign_kernels
from kopt.device.ncu.run import command, environment, find_ncu
from kopt.discovery import module_names
from kopt.model.build import Built
from kopt.model.diagnosis import Profile
from kopt.model.problem import Dtype, TensorSpec, WorkloadFacts
from kopt.provenance import closure
from kopt.store import Store
from tests.device.ends import ends
from tests.device.small import H100, SCALE

RECORDED = Path(__file__).parent / "ncu_fixtures"
DRAM = "dram__throughput.avg.pct_of_peak_sustained_elapsed"
READ = "dram__bytes_read.sum"
REGISTERS = "launch__registers_per_thread"

SMALL = f'''==PROF== Connected to process 411
"ID","Process ID","Kernel Name","Grid Size","{TIME}","{DRAM}","{READ}","{REGISTERS}"
"","","","","ns","%","byte","register/thread"
"0","411","part_kernel","(8, 4, 1)","3,000","80.0","1,000,000","32"
"1","411","add_kernel","(1, 1, 1)","1,000","40.0","n/a","64"
==PROF== Disconnected from process 411
'''
PERMISSION = (
    "==PROF== Connected to process 9\n==ERROR== ERR_NVGPUCTRPERM - The user does not have permission to access NVIDIA "
    "GPU Performance Counters on the target device 0.\n==PROF== Disconnected from process 9\n"
)
JOB = ProfileJob(kernel=SCALE.seed, problem=SCALE, workload=SCALE.main[0])
STATIC = Profile(kind="static", bound="latency", roofline_share=0.5, metrics={"time_ms": 2.0, "ptx_load_global": 3.0})


def facts(megabytes: int) -> WorkloadFacts:
    spec = TensorSpec(name="x", shape=(megabytes * 500_000,), dtype="bfloat16")
    return WorkloadFacts(workload="w", inputs=(spec,), outputs=(spec.model_copy(update={"shape": (1,)}),), eager_ops=())


def launch(ns: float, **metrics: float | None) -> LaunchCounters:
    return LaunchCounters(kernel="k", metrics=dict.fromkeys(METRICS) | {TIME: ns} | metrics)


def counted(*launches: LaunchCounters) -> Counted:
    return Counted(launches=launches, csv="")


def test_every_launch_is_a_row_and_units_are_none():
    first, second = parse(SMALL)
    assert (first.kernel, second.kernel) == ("part_kernel", "add_kernel")
    assert (first.metrics[TIME], first.metrics[DRAM], first.metrics[READ]) == (3000.0, 80.0, 1e6)


def test_missing_values_are_none_and_never_an_error():
    first, second = parse(SMALL)
    assert second.metrics[READ] is None
    assert set(first.metrics) == set(METRICS)
    assert first.metrics["lts__t_sector_hit_rate.pct"] is None


@pytest.mark.parametrize("cell", ["nan", "", "n/a", "inf", "(1, 2)", "1_0", "８０", "8e"])
def test_what_is_no_finite_number_is_none(cell):
    assert parse(SMALL.replace("80.0", cell))[0].metrics[DRAM] is None


@pytest.mark.parametrize(("unit", "factor"), [("ns", 1), ("usecond", 1e3), ("us", 1e3), ("msecond", 1e6), ("s", 1e9)])
def test_units_are_taken_to_nanoseconds(unit, factor):
    assert parse(SMALL.replace('"ns"', f'"{unit}"'))[0].metrics[TIME] == 3000.0 * factor


@pytest.mark.parametrize("text", ["", "==ERROR== no\n", "passed\n", '"a","b"\n"1","2"\n'])
def test_what_holds_no_table_is_refused(text):
    with pytest.raises(NotCounters):
        parse(text)


def test_launches_together_add_up_sums_and_weigh_shares_with_time():
    whole = together([launch(3000.0, **{DRAM: 80.0, READ: 10.0}), launch(1000.0, **{DRAM: 40.0, READ: 5.0})])
    assert (whole[TIME], whole[DRAM], whole[READ]) == (4000.0, 70.0, 15.0)


def test_properties_of_a_launch_are_those_of_the_longest():
    assert together([launch(1000.0, **{REGISTERS: 255.0}), launch(3000.0, **{REGISTERS: 32.0})])[REGISTERS] == 32.0


def test_a_sum_that_one_launch_lacks_is_unknown_and_a_share_is_not():
    whole = together([launch(1.0, **{READ: 5.0, DRAM: 50.0}), launch(1.0)])
    assert (whole[READ], whole[DRAM]) == (None, 50.0)


@given(st.lists(st.tuples(st.floats(1, 1e9), st.floats(0, 100)), min_size=1, max_size=6))
def test_a_share_of_all_lies_between_those_of_its_launches_whatever_their_order(pairs):
    launches = [launch(ns, **{DRAM: share}) for ns, share in pairs]
    whole = together(launches)[DRAM]
    shares = [share for _, share in pairs]
    assert min(shares) - 1e-9 <= whole <= max(shares) + 1e-9
    assert math.isclose(together(launches[::-1])[DRAM], whole, abs_tol=1e-9)


def test_no_permission_is_told_from_other_failures():
    assert outcome(1, PERMISSION, "") == NotCounted(cause="no permission")
    assert NotCounted(cause="no permission").lasting
    assert "ERR_NVGPUCTRPERM" in NotCounted(cause="no permission").note


def test_a_candidate_that_prints_the_words_does_not_make_them_so():
    assert outcome(1, "", PERMISSION).cause == "failed"


@pytest.mark.parametrize(
    ("status", "log", "cause"),
    [
        (None, SMALL, "timeout"),
        (0, "==WARNING== No kernels were profiled.\n", "no launch"),
        (7, "==ERROR==\n", "failed"),
    ],
)
def test_other_outcomes_have_a_cause(status, log, cause):
    result = outcome(status, log, "Traceback: boom")
    assert isinstance(result, NotCounted)
    assert result.cause == cause
    assert not result.lasting


def test_missing_ncu_is_an_outcome(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr("kopt.device.ncu.run.PLACES", ("/nonexistent/ncu", "/nonexistent"))
    assert find_ncu() is None
    assert count(JOB) == NotCounted(cause="no ncu")


def fake_ncu(folder: Path, body: str) -> Path:
    path = folder / "ncu"
    path.write_text(
        f"#!{sys.executable}\nimport os, sys, time\nlog = sys.argv[sys.argv.index('--log-file') + 1]\n{body}\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_the_table_is_read_from_the_log_and_not_from_what_is_printed(tmp_path):
    ncu = fake_ncu(tmp_path, f"print({PERMISSION!r})\nopen(log, 'w').write({SMALL!r})")
    result = count(JOB, ncu=ncu)
    assert isinstance(result, Counted)
    assert [launch.kernel for launch in result.launches] == ["part_kernel", "add_kernel"]


def test_a_run_that_does_not_end_is_killed_with_its_children(tmp_path):
    note = tmp_path / "child"
    ncu = fake_ncu(tmp_path, f"pid = os.fork()\nif pid: open({str(note)!r}, 'w').write(str(pid))\ntime.sleep(60)")
    assert count(JOB, ncu=ncu, wait_s=2.0).cause == "timeout"
    assert ends(int(note.read_text()))


def test_the_next_program_starts_while_one_is_profiled_and_waits_for_its_turn(tmp_path):
    """Each program waits for its own turn; a run notes when it began and when its turn came."""
    notes = tmp_path / "notes"
    ncu = fake_ncu(
        tmp_path,
        f"""
note = lambda word: open({str(notes)!r}, "a").write(word + " ")
job = os.path.dirname(sys.argv[-1])
note("start")
while not os.path.exists(job + "/turn"):
    time.sleep(0.01)
note("turn")
while open({str(notes)!r}).read().count("start") < 2:
    time.sleep(0.01)
open(log, "w").write({SMALL!r})
note("end")
""",
    )
    with Counting([JOB, JOB, JOB], ncu=ncu) as counting:
        counted = list(counting.each())
    assert [type(one) for one in counted] == [Counted] * 3
    words = notes.read_text().split()
    assert [word for word in words if word != "start"] == ["turn", "end"] * 3
    assert words.index("start", words.index("start") + 1) < words.index("end")


@pytest.mark.parametrize("end", ["while True: time.sleep(0.01)", "sys.exit(1)"], ids=["goes on", "ends"])
def test_a_gpu_is_waited_for_when_programs_are_ready_for_it_or_have_ended(tmp_path, end):
    said = tmp_path / "said"
    body = f"""
with open({str(said)!r}, "a") as file:
    file.write("ready ")
{"open(os.path.dirname(sys.argv[-1]) + '/ready', 'w').close()" if "True" in end else ""}
{end}
"""
    with Counting([JOB, JOB, JOB], ncu=fake_ncu(tmp_path, body)) as counting:
        counting.wait()
        assert said.read_text() == "ready ready "


def test_programs_make_their_inputs_side_by_side_and_run_their_candidates_one_after_the_other(tmp_path, monkeypatch):
    notes = tmp_path / "notes"
    ncu = fake_ncu(
        tmp_path,
        f"""
note = lambda word: open({str(notes)!r}, "a").write(word + " ")
job = os.path.dirname(sys.argv[-1])
def wait(name):
    while not os.path.exists(job + "/" + name):
        time.sleep(0.01)
open(job + "/ready", "w").close()
wait("gpu")
note(open(job + "/gpu").read())
while open({str(notes)!r}).read().count("GPU-1") < 2:
    time.sleep(0.01)
open(job + "/prepared", "w").close()
wait("turn")
note("turn")
open(log, "w").write({SMALL!r})
note("end")
""",
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1")
    with Counting([JOB, JOB], ncu=ncu) as counting:
        counting.wait()
        counting.prepare()
        assert notes.read_text().split() == ['"GPU-1"'] * 2
        assert [type(one) for one in counting.each()] == [Counted] * 2
    assert notes.read_text().split()[2:] == ["turn", "end"] * 2


def test_a_program_that_is_not_ready_makes_its_inputs_at_its_turn(tmp_path):
    body = f"""
job = os.path.dirname(sys.argv[-1])
while not os.path.exists(job + "/turn"):
    time.sleep(0.01)
if os.path.exists(job + "/gpu"):
    open(log, "w").write({SMALL!r})
"""
    with Counting([JOB], ncu=fake_ncu(tmp_path, body)) as counting:
        counting.prepare()
        assert [type(one) for one in counting.each()] == [Counted]


def test_a_waiting_program_ends_with_nsight_compute(tmp_path):
    """Even where Nsight Compute has ended before the program waits."""
    with pytest.raises(SystemExit):
        target._wait_for(tmp_path / "turn", os.getpid())


def test_without_nsight_compute_no_program_is_waited_for(monkeypatch):
    monkeypatch.setattr(profiling, "find_ncu", lambda: None)
    with Counting([JOB]) as counting:
        counting.wait()
        assert [one.cause for one in counting.each()] == ["no ncu"]


def test_launchers_of_plain_signatures_alone_are_compiled_before_the_program_is_confined(monkeypatch):
    """Triton writes types into C code, and a build says what a candidate's process said."""
    asked = []

    def launcher(source, metadata):
        asked.append(source.signature)
        raise AttributeError("num_ctas")

    def warm():
        torch.set_num_threads(1)
        return SimpleNamespace(launcher_cls=launcher)

    monkeypatch.setattr(target, "warm", warm)
    threads = torch.get_num_threads()
    target._ready_triton(
        [("*bf16", "i32", "constexpr"), ("*fp8e4nv",), ("i32 x; system(0);",), ("tensordesc<fp16[1]>",)]
    )
    assert asked == [{0: "*bf16", 1: "i32", 2: "constexpr"}, {0: "*fp8e4nv"}]
    assert torch.get_num_threads() == threads


def test_a_waiting_program_ends_when_it_is_not_wanted_any_more(tmp_path):
    note = tmp_path / "pids"
    body = f"open({str(note)!r}, 'a').write(f'{{os.getpid()}} ')\nwhile True: time.sleep(0.01)"
    with Counting([JOB, JOB], ncu=fake_ncu(tmp_path, body)) as counting:
        assert next(counting.each(2.0)).cause == "timeout"
    pids = note.read_text().split()
    assert len(pids) == 2
    assert all(ends(int(pid)) for pid in pids)


def test_a_program_that_cannot_start_ends_the_one_before_it(tmp_path, monkeypatch):
    note = tmp_path / "pids"
    body = f"open({str(note)!r}, 'a').write(f'{{os.getpid()}} ')\nwhile True: time.sleep(0.01)"
    ncu, start = fake_ncu(tmp_path, body), profiling.Run.__init__

    def once(self, job, program):
        if note.exists():
            raise OSError("no space left on device")
        start(self, job, program)
        while not note.exists() or not note.read_text():
            time.sleep(0.01)

    monkeypatch.setattr(profiling.Run, "__init__", once)
    with pytest.raises(OSError, match="no space"), Counting([JOB, JOB], ncu=ncu):
        pass
    assert ends(int(note.read_text().split()[0]))


def test_programs_start_before_a_gpu_is_held_and_see_the_one_that_is_held_at_their_turn(tmp_path, monkeypatch):
    notes, program = tmp_path / "notes", tmp_path / "program.py"
    program.write_text(
        "import os, sys\nfrom pathlib import Path\nfrom kopt.device.ncu import target\n"
        f"notes, seen = Path({str(notes)!r}), os.environ.get('CUDA_VISIBLE_DEVICES')\n"
        "notes.with_suffix(f'.{os.getpid()}').write_text(str(seen))\n"
        "target._see_gpu(Path(sys.argv[1]), os.getppid())\n"
        "with notes.open('a') as file:\n    file.write(os.environ['CUDA_VISIBLE_DEVICES'] + ' ')\n"
    )
    ncu = fake_ncu(
        tmp_path,
        f"""
import subprocess
gpu = os.path.join(os.path.dirname(sys.argv[-1]), "gpu")
subprocess.run([sys.executable, {str(program)!r}, gpu], check=True)
open(log, "w").write({SMALL!r})
""",
    )
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with Counting([JOB, JOB, JOB], ncu=ncu) as counting:
        while len(list(tmp_path.glob("notes.*"))) < 2:
            time.sleep(0.01)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1")
        counted = list(counting.each())
    assert [type(one) for one in counted] == [Counted] * 3
    assert notes.read_text().split() == ["GPU-1"] * 3
    assert sorted(path.read_text() for path in tmp_path.glob("notes.*")) == ["GPU-1", "None", "None"]


def test_no_secret_reaches_the_profiled_program(tmp_path, monkeypatch):
    monkeypatch.setenv("EXAMPLE_API_KEY", "hidden")
    assert "hidden" not in str(environment(tmp_path))
    ncu = fake_ncu(tmp_path, "open(log, 'w').write(' '.join(os.environ))\nsys.exit('EXAMPLE_API_KEY' in os.environ)")
    assert count(JOB, ncu=ncu).cause == "no launch"


def test_command_asks_for_every_metric_in_one_range_with_clocks_left_alone():
    line = command(Path("/ncu"), Path("/log"), ["python", "x.py"])
    assert line[line.index("--metrics") + 1].split(",") == list(METRICS)
    assert line[line.index("--clock-control") + 1] == "none"
    assert line[line.index("--profile-from-start") + 1] == "off"
    assert line[-2:] == ["python", "x.py"]
    assert len(METRICS) == 30


def test_profile_keeps_static_facts_and_says_the_share_of_the_measured_rate():
    one = launch(1e6, **{READ: 1.5e9, "dram__bytes_write.sum": 0.0})
    profile = counters_profile(counted(one), STATIC, facts(1500), H100, Dtype.BFLOAT16)
    assert (profile.kind, profile.bound) == ("counters", "memory")
    assert profile.metrics["ptx_load_global"] == 3.0
    assert profile.metrics["dram_share"] == pytest.approx(1500 / H100.copy_gb_s)
    assert profile.roofline_share == pytest.approx(1500 / H100.copy_gb_s, rel=0.05)


@pytest.mark.parametrize(
    ("metrics", "bound"),
    [
        ({"sm__throughput.avg.pct_of_peak_sustained_elapsed": 85.0}, "compute"),
        ({"sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_elapsed": 85.0, READ: 1e8}, "compute"),
        ({"lts__throughput.avg.pct_of_peak_sustained_active": 85.0}, "memory"),
        ({"sm__throughput.avg.pct_of_peak_sustained_elapsed": 10.0}, "latency"),
        ({}, "latency"),
    ],
)
def test_the_busiest_unit_bounds_and_no_busy_unit_is_latency(metrics, bound):
    one = launch(1e6, **{"dram__bytes_write.sum": 0.0, **metrics})
    assert counters_profile(counted(one), STATIC, facts(1), H100, Dtype.BFLOAT16).bound == bound


def test_the_key_of_stored_counters_covers_all_code_that_makes_them():
    calls = [node for node in ast.walk(ast.parse(inspect.getsource(cuda_profile))) if isinstance(node, ast.Call)]
    named = [node.args[0].value for node in calls if ast.unparse(node.func) == "code_digest"]
    assert {f"kopt.device.ncu.{name}" for name in module_names("kopt.device.ncu")} <= closure(named)


def test_kernels_that_the_build_does_not_know_are_foreign():
    names = [
        "part_kernel",
        "void vectorized_elementwise_kernel<4, FillFunctor>",
        "nvjet_hsh_128x192",
        "void gemmSN_TN_kernel<float>",
    ]
    launches = [one.model_copy(update={"kernel": name}) for name in names for one in [launch(1.0)]]
    assert foreign_kernels(counted(*launches), {"part_kernel"}) == ("nvjet_hsh_128x192", "void gemmSN_TN_kernel<float>")


def test_fills_and_casts_of_torch_around_a_kernel_are_not_foreign():
    launches = parse((RECORDED / "h100_three_launches.csv").read_text())
    assert foreign_kernels(counted(*launches), {"add_kernel"}) == ()
    assert foreign_kernels(counted(*launches), {"other_kernel"}) == ("add_kernel",)


@pytest.mark.parametrize("path", sorted(RECORDED.glob("*.csv")), ids=lambda path: path.stem)
def test_recorded_tables_have_time_bytes_and_shares_for_every_launch(path):
    launches = parse(path.read_text())
    for one in launches:
        assert one.metrics[TIME] > 0
        assert one.metrics[READ] >= 0
        assert 0 <= one.metrics[DRAM] <= 100
        assert one.metrics[REGISTERS] >= 8
    assert set(together(launches)) == set(METRICS)


def test_the_profiled_program_finds_the_kernels_of_the_build(tmp_path):
    """The job travels as JSON; the program puts the kernels where Triton looks before it compiles."""
    store, scratch = Store(tmp_path / "store"), tmp_path / "scratch"
    ((_, build),) = build_all([BuildJob(kernel=SCALE.seed, problem=SCALE, device=H100)], store=store, workers=1)
    assert isinstance(build, Built)
    kernels = compiled(build, store).kernels
    job = ProfileJob.model_validate_json(JOB.model_copy(update={"compiled": kernels}).model_dump_json())
    assert job.compiled == kernels
    program = """
import sys
from pathlib import Path
from kopt.device.ncu import target
target._see_gpu = lambda *given: sys.exit(0)
target.main(sys.argv[1])
"""
    scratch.mkdir()
    (tmp_path / "job.json").write_text(job.model_dump_json())
    command_line = [sys.executable, "-c", program, str(tmp_path / "job.json")]
    subprocess.run(command_line, env=environment(scratch), cwd=scratch, check=True)
    assert len(kernels) == 1
    assert [path.read_bytes() for path in scratch.rglob("*.cubin")] == [kernels[0].cubin]


@pytest.mark.gpu
def test_counters_of_a_real_kernel():
    result = count(JOB)
    assert isinstance(result, Counted) or result.lasting, result
    if isinstance(result, Counted):
        assert [launch.kernel for launch in result.launches] == ["scale_kernel"]
        assert os.environ.get("CUDA_VISIBLE_DEVICES") == environment(Path("/")).get("CUDA_VISIBLE_DEVICES")
