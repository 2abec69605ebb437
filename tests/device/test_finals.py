"""A final measurement, on processes that need no GPU: which finalists have a time and which a verdict."""

import pytest

from kopt.device.cuda.finals import FinalMeasurement, FinalsPlan
from kopt.errors import WorkerDied
from kopt.model.build import Phase
from kopt.model.verdict import Failed, Passed
from tests.device.scripted import COOL, ScriptedBatch, no_results


def measured(batch, baselines=("eager",)):
    plan = FinalsPlan(baselines=baselines, warmup=3, repeat=20, processes=2)
    measurement = FinalMeasurement(batch, no_results(), plan, lambda: COOL)
    return measurement.measure(batch.verified([name for name in batch.ms if name not in baselines]))


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
