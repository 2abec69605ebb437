"""A final measurement, on processes that need no GPU: which finalists have a time and which a verdict."""

import importlib.metadata
import re
from pathlib import Path

import pytest

from kopt.device.baselines.compilations import PACKED, Compilations, subject_count
from kopt.device.baselines.compiler import packed_caches
from kopt.device.cuda import finals as finals_module
from kopt.device.cuda.finals import CompiledAhead, FinalMeasurement, FinalsPlan
from kopt.errors import WorkerDied
from kopt.model.build import Phase
from kopt.model.verdict import Failed, Passed
from kopt.report.finals import table_lines
from kopt.sandbox.service import CallFailed
from kopt.store import Store
from tests.device.cuda.scripted import COOL, GPU, ScriptedBatch, no_results
from tests.device.small import SCALE


def measured(batch, baselines=("eager",), store=None):
    plan = FinalsPlan(baselines=baselines, warmup=3, repeat=20, processes=2)
    measurement = FinalMeasurement(batch, no_results(), plan, lambda: COOL, store)
    return measurement.measure(batch.verified([name for name in batch.ms if not name.startswith(baselines)]))


def test_a_final_measurement_knows_how_many_processes_its_samples_come_from():
    timings = measured(ScriptedBatch({"best": 1.0, "seed": 2.0, "eager": 1.5})).timings
    assert set(timings) == {"best", "seed", "eager"}
    assert all(len(timing.workloads[0].samples_ms) == 20 for timing in timings.values())
    assert all(timing.workloads[0].processes == 2 for timing in timings.values())


def test_a_finalist_that_breaks_the_timer_costs_its_own_place():
    finals = measured(ScriptedBatch({"best": 1.0, "seed": 2.0, "eager": 1.5}, breaks=("best",)))
    assert set(finals.timings) == {"seed", "eager"}
    assert isinstance(finals.verdicts["best"], Failed)
    assert isinstance(finals.verdicts["seed"], Passed)


def test_a_finalist_that_lives_on_earlier_calls_has_no_time():
    finals = measured(ScriptedBatch({"best": 1.0, "seed": 2.0, "eager": 1.5}, unseen={"best": 2.0}))
    assert set(finals.timings) == {"seed", "eager"}
    assert finals.verdicts["best"].phase is Phase.REUSE


def test_a_final_time_under_the_floor_is_refused():
    finals = measured(ScriptedBatch({"best": 0.5, "seed": 2.0, "eager": 1.5}))
    assert set(finals.timings) == {"seed", "eager"}
    assert finals.verdicts["best"].phase is Phase.ROOFLINE


def test_a_baseline_that_breaks_the_timer_is_our_fault():
    with pytest.raises(WorkerDied):
        measured(ScriptedBatch({"seed": 2.0, "eager": 1.5}, breaks=("eager",)))


COMPILED = {"seed": 2.0, "compile": 1.2, "max-autotune": 1.4, "max-autotune 2": 1.1}


def test_the_faster_compilation_by_max_autotune_counts_and_both_are_told():
    finals = measured(ScriptedBatch(COMPILED), ("compile", "max-autotune"))
    assert set(finals.timings) == {"seed", "compile", "max-autotune"}
    both = finals.timings["max-autotune"]
    assert both.objective_ms == pytest.approx(1.1, rel=0.01)
    assert both.compilations_ms == pytest.approx((1.4, 1.1), rel=0.01)
    assert finals.timings["compile"].compilations_ms == ()
    (line,) = [line for line in table_lines(finals) if line.startswith("max-autotune")]
    assert re.search(r"the fastest of 2 compilations: 1\.\d{4} to 1\.\d{4} ms$", line)


@pytest.mark.parametrize("cannot", [("compile max-autotune 2",), ("max-autotune 2",)])
def test_a_compilation_that_fails_costs_itself_and_is_told(caplog, cannot):
    finals = measured(ScriptedBatch(COMPILED, cannot=cannot), ("compile", "max-autotune"))
    assert set(finals.timings) == {"seed", "compile", "max-autotune"}
    assert finals.timings["max-autotune"].objective_ms == pytest.approx(1.4, rel=0.01)
    (told,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert told.startswith("torch.compile (max-autotune 2) fails on the reference and is left out: ")


def test_a_reference_that_pytorch_cannot_run_is_no_baseline_to_leave_out():
    with pytest.raises(CallFailed):
        measured(ScriptedBatch({"seed": 2.0, "eager": 1.5}, cannot=("eager",)))


def test_each_compilation_has_a_process_of_its_own_and_is_made_once_for_all_measurements(tmp_path):
    first, second = ScriptedBatch(COMPILED), ScriptedBatch(COMPILED)
    for batch in (first, second):
        measured(batch, ("compile", "max-autotune"), Store(tmp_path))
    assert first.compiled == ["compile", "max-autotune", "max-autotune 2"]
    assert second.compiled == []


class OneAtATime(ScriptedBatch):
    """The processes of a lease: `leases` notes which compilations each of them made."""

    leases = None

    def __init__(self, *args, **kwargs):
        super().__init__({}, cannot=("compile compile",))
        self.leases.append(self.compiled)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def begin_compiling(self):
        return self


def test_each_baseline_ahead_of_a_measurement_has_a_lease_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(OneAtATime, "leases", [])
    monkeypatch.setattr(finals_module, "JudgeProcesses", OneAtATime)
    store = Store(tmp_path)
    ahead = CompiledAhead(FinalsPlan(baselines=("eager", "compile", "max-autotune")), store)
    leased = []
    while ahead.compile_next(SCALE, GPU):
        leased.append(set(ahead.tried))
    assert OneAtATime.leases == [["compile"], ["max-autotune", "max-autotune 2"]]
    assert ahead.failed == {"compile"}, "which is tried once"
    batch = ScriptedBatch(COMPILED)
    plan = FinalsPlan(baselines=("compile", "max-autotune"), warmup=3, repeat=20, processes=2)
    measurement = FinalMeasurement(batch, no_results(), plan, lambda: COOL, store, ahead.failed)
    assert set(measurement.measure(batch.verified(["seed"])).timings) == {"seed", "max-autotune"}
    assert batch.compiled == []


def test_other_versions_and_devices_compile_anew(tmp_path, monkeypatch):
    store = Store(tmp_path)

    def compiled():
        batch = ScriptedBatch(COMPILED)
        measured(batch, ("compile",), store)
        return batch.compiled

    assert compiled() == ["compile"]
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "9.9" if name == "torch" else version(name))
    assert compiled() == ["compile"]
    assert compiled() == []


def test_the_first_process_that_times_finds_a_kept_compilation_packed(tmp_path):
    compilations = Compilations(SCALE, GPU, Store(tmp_path / "store"), tmp_path)
    (subject,) = compilations.subjects(["compile"])
    assert compilations.missing([subject]) == [subject]
    compilations.keep(subject, b"packed")
    assert compilations.missing([subject]) == []
    assert (Path(subject.folder) / PACKED).read_bytes() == b"packed"


def test_a_job_has_time_for_each_compilation():
    assert subject_count(("eager", "compile", "max-autotune")) == 4


def test_a_later_compilation_gets_the_kernels_of_a_first_one_that_lies_packed(tmp_path):
    made, kept = Compilations(SCALE, GPU, None, tmp_path / "made"), Compilations(SCALE, GPU, None, tmp_path / "kept")
    for one in (made, kept):
        one.folder.mkdir()
    first, _ = made.subjects(["max-autotune"])
    cubin = Path(first.folder) / "triton/KEY/one.cubin"
    cubin.parent.mkdir(parents=True)
    cubin.write_bytes(b"x")
    packed, later = kept.subjects(["max-autotune"])
    (Path(packed.folder) / PACKED).write_bytes(packed_caches(first.folder))
    kept.lend_kernels(later)
    assert (Path(later.folder) / "triton/KEY/one.cubin").read_bytes() == b"x"


def test_a_later_compilation_gets_the_kernels_of_the_first_one_and_none_of_its_choices(tmp_path):
    compilations = Compilations(SCALE, GPU, None, tmp_path)
    first, second = compilations.subjects(["max-autotune"])
    for name in ("triton/KEY/one.cubin", "inductor/ab/one.best_config"):
        (Path(first.folder) / name).parent.mkdir(parents=True)
        (Path(first.folder) / name).write_bytes(b"x")
    for subject in (first, second):
        compilations.lend_kernels(subject)
    found = [str(path.relative_to(second.folder)) for path in Path(second.folder).rglob("*") if path.is_file()]
    assert found == ["triton/KEY/one.cubin"]
