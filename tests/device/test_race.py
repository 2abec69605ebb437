"""The course of a chunk, with a bench that needs no GPU: who is timed, who is dropped, what is said of whom."""

import random

import pytest

from kopt.device.cuda.batch import InputChanged
from kopt.device.cuda.program import RecordedCall, View
from kopt.device.cuda.race import ChunkRace, Race
from kopt.device.cuda.times import INCUMBENT, Times
from kopt.device.cuda.verdicts import Recorded, failure
from kopt.device.hardware.measured import MeasuredDevice
from kopt.errors import WorkerDied
from kopt.model.build import Phase
from kopt.model.device import Device
from kopt.model.environment import Conditions
from kopt.model.problem import Dtype, ProblemFacts, TensorSpec, WorkloadFacts
from kopt.model.verdict import Failed, Incorrect, Passed

FACTS = ProblemFacts(
    dtype=Dtype.BFLOAT16,
    workloads=(
        WorkloadFacts(
            workload="main",
            inputs=(TensorSpec(name="x", shape=(1 << 30,), dtype="bfloat16"),),
            output=TensorSpec(name="output", shape=(1024,), dtype="bfloat16"),
            eager_ops=(),
        ),
    ),
)
"""2 GiB in, next to nothing out: 0.69 ms at 3000 GB/s with the roofline's headroom."""

DEVICE = Device(
    name="a GPU", arch=90, sm_count=132, shared_bytes_per_block=232448, shared_bytes_per_sm=233472,
    l2_bytes=50 << 20, memory_bytes=80 << 30, sm_clock_mhz=1980, copy_gb_s=3000.0, vector_tflop_s=60.0, measured=True,
)  # fmt: skip
FOUND = MeasuredDevice(device=DEVICE, uuid="GPU-1", driver="1", read_gb_s=3000.0)
COOL = Conditions(sm_clock_mhz=(1980, 1980), temperature_c=40, power_w=300.0)
HOT = COOL.model_copy(update={"throttle": ("thermal (hardware)",)})
PROGRAM = RecordedCall(
    workload="main", arguments=1, steps=(), output=View(storage=0, offset=0, shape=(1,), stride=(1,), dtype="float32")
)


class Table:
    """A bench and its batches, whose kernels take the times and have the faults that they are given."""

    def __init__(self, ms, unverified=(), unadmitted=(), wrong_when_timed=(), breaks=(), breaks_early=(),
                 breaks_beside=(), breaks_unseen=(), writes=(), unseen=None):  # fmt: skip
        self.ms, self.unverified, self.unadmitted = ms, unverified, unadmitted
        self.wrong_when_timed, self.breaks, self.breaks_early = wrong_when_timed, breaks, breaks_early
        self.breaks_beside, self.breaks_unseen, self.writes = breaks_beside, breaks_unseen, writes
        self.unseen = unseen or {}
        self.random = random.Random(1)
        self.launches = dict.fromkeys(ms, 0)

    def verify(self, kernels, compiled=None):
        heard = {}
        for name in kernels:
            bad = name in self.unverified
            heard[name] = failure(Phase.CRASH, "died") if bad else Recorded((PROGRAM,), {}, (), {"verify": 1.0})
        return heard

    def begin_timing(self, memory_bytes, turn):
        return self

    def end_timing(self):
        pass

    def add_baseline(self, name, seconds):
        self.launches[name] = 0

    def admit(self, name, recorded):
        return failure(Phase.MUTATION, "writes") if name in self.unadmitted else None

    def warm(self, names, calls):
        if set(names) & set(self.breaks_early):
            raise WorkerDied("the timer died")

    def wall_ms(self, name):
        return {"main": 2.0}

    def race(self, names, launches, start):
        if set(names) & set(self.breaks) or (set(names) & set(self.breaks_beside) and len(names) > 1):
            raise WorkerDied("the timer died")
        if set(names) & set(self.writes):
            raise InputChanged("A")
        for name in names:
            self.launches[name] += launches
        return {"main": {name: self._times(self.ms[name], launches) for name in names}}

    def race_unseen(self, name):
        if name in self.breaks_unseen:
            raise WorkerDied("the timer died")
        return {"main": {name: self._times(self.unseen.get(name, self.ms[name]), 1)}}

    def _times(self, ms, count):
        return [ms * self.random.uniform(0.999, 1.001) for _ in range(count)]

    def verify_kept_output(self, name):
        return Incorrect(judge="cuda", reason="wrong later") if name in self.wrong_when_timed else None

    def revive(self):
        pass

    def drop(self, name):
        pass


def judged(table, race=Race(repeat=40, keep=2), state=lambda: COOL):  # noqa: B008 - frozen
    return dict(ChunkRace(table, Times(FACTS, FOUND), race, state).judge(dict.fromkeys(table.ms), {}))


def test_everyone_right_is_timed_with_a_ratio_to_the_incumbent():
    said = judged(Table({"0": 1.0, "1": 1.5, INCUMBENT: 2.0}))
    assert set(said) == {"0", "1"}
    (timed,) = said["0"].timing.workloads
    assert isinstance(said["0"].verdict, Passed)
    assert timed.ratio == pytest.approx(0.5, abs=0.01)
    assert timed.ratio_low <= timed.ratio <= timed.ratio_high
    assert timed.wall_ms == 2.0
    assert said["0"].timing.environment.uuid == "GPU-1"
    assert said["0"].timing.ratio == timed.ratio


def test_a_race_spends_its_launches_on_the_fast_ones():
    table = Table({str(at): 1.0 + 0.5 * at for at in range(8)} | {INCUMBENT: 3.0})
    judged(table)
    assert table.launches["0"] == table.launches["1"] == table.launches[INCUMBENT] == 40
    assert table.launches["7"] == 5


def test_a_time_that_no_device_can_reach_is_refused():
    said = judged(Table({"0": 0.5, "1": 1.0}))
    assert said["0"].timing is None
    assert said["0"].verdict.phase is Phase.ROOFLINE
    assert isinstance(said["1"].verdict, Passed)


def test_each_failure_is_told_and_leaves_the_others_their_times():
    table = Table(dict.fromkeys("0123", 1.0), unverified="0", unadmitted="1", wrong_when_timed="2")
    said = judged(table)
    assert [type(said[name].verdict) for name in "0123"] == [Failed, Failed, Incorrect, Passed]
    assert [said[name].timing is None for name in "0123"] == [True, True, True, False]


def test_who_breaks_the_timer_is_found_and_dropped():
    for table in (Table(dict.fromkeys("012", 1.0), breaks="1"), Table(dict.fromkeys("012", 1.0), breaks_early="1")):
        said = judged(table)
        assert [type(said[name].verdict) for name in "012"] == [Passed, Failed, Passed]
        assert said["1"].verdict.phase is Phase.CRASH


def test_who_breaks_the_timer_only_beside_others_is_found_too():
    said = judged(Table(dict.fromkeys("012", 1.0), breaks_beside="1"))
    assert [type(said[name].verdict) for name in "012"] == [Passed, Failed, Passed]


def test_who_is_slower_on_inputs_that_it_did_not_have_before_is_refused():
    said = judged(Table({"0": 1.0, "1": 1.0, INCUMBENT: 2.0}, unseen={"1": 1.5}))
    assert isinstance(said["0"].verdict, Passed)
    assert said["1"].verdict.phase is Phase.REUSE
    assert "new ones" in said["1"].verdict.reason


def test_a_slow_call_now_and_then_is_no_reuse():
    table = Table({"0": 1.0, "1": 1.0, INCUMBENT: 2.0})
    slow, quick = iter([3.0, 3.0, 1.0]), table.race_unseen
    table.race_unseen = lambda name: {"main": {"0": [next(slow)]}} if name == "0" else quick(name)
    assert isinstance(judged(table)["0"].verdict, Passed)
    assert next(slow, None) is None


def test_who_breaks_the_timer_on_new_inputs_alone_costs_its_own_slot():
    said = judged(Table(dict.fromkeys("012", 1.0), breaks_unseen="1"), race=Race(repeat=40, keep=3))
    assert [type(said[name].verdict) for name in "012"] == [Passed, Failed, Passed]


def test_who_changes_an_input_when_it_is_timed_is_named():
    said = judged(Table(dict.fromkeys("012", 1.0), writes="1"))
    assert [type(said[name].verdict) for name in "012"] == [Passed, Failed, Passed]
    assert said["1"].verdict.phase is Phase.MUTATION


@pytest.mark.parametrize("culprit", "012")
def test_who_breaks_it_beside_any_other_is_found_wherever_it_stands(culprit):
    said = judged(Table(dict.fromkeys("012", 1.0), breaks_beside=culprit))
    assert {name for name, one in said.items() if isinstance(one.verdict, Failed)} == {culprit}


def finals(table, baselines=("eager",), processes=2):
    judging = ChunkRace(table, Times(FACTS, FOUND), Race(), lambda: COOL)
    for name, heard in table.verify([name for name in table.ms if name not in baselines]).items():
        judging.take(name, heard)
    for turn in range(processes):
        judging.final(turn, 10, baselines)
    return judging.finals()


def test_a_final_measurement_knows_how_many_processes_its_samples_come_from():
    timings = finals(Table({"best": 1.0, "seed": 2.0, "eager": 1.5})).timings
    assert set(timings) == {"best", "seed", "eager"}
    assert all(one.workloads[0].processes == 2 and len(one.workloads[0].samples_ms) == 20 for one in timings.values())


def test_a_finalist_that_breaks_the_timer_costs_its_own_place():
    found = finals(Table({"best": 1.0, "seed": 2.0, "eager": 1.5}, breaks=("best",)))
    assert set(found.timings) == {"seed", "eager"}
    assert isinstance(found.verdicts["best"], Failed)
    assert isinstance(found.verdicts["seed"], Passed)


def test_a_finalist_that_lives_on_earlier_calls_has_no_time():
    found = finals(Table({"best": 1.0, "seed": 2.0, "eager": 1.5}, unseen={"best": 2.0}))
    assert set(found.timings) == {"seed", "eager"}
    assert found.verdicts["best"].phase is Phase.REUSE


def test_a_final_time_under_the_floor_is_refused():
    found = finals(Table({"best": 0.5, "seed": 2.0, "eager": 1.5}))
    assert set(found.timings) == {"seed", "eager"}
    assert found.verdicts["best"].phase is Phase.ROOFLINE


def test_a_baseline_that_breaks_the_timer_is_our_fault():
    with pytest.raises(WorkerDied):
        finals(Table({"seed": 2.0, "eager": 1.5}, breaks=("eager",)))


def test_an_incumbent_that_fails_costs_the_ratios_only():
    said = judged(Table({"0": 1.0, INCUMBENT: 1.0}, unverified=(INCUMBENT,)))
    assert said["0"].timing.ratio is None
    assert isinstance(said["0"].verdict, Passed)


def test_when_only_the_incumbent_is_right_nobody_is_timed():
    table = Table({"0": 1.0, INCUMBENT: 1.0}, unverified=("0",))
    assert isinstance(judged(table)["0"].verdict, Failed)
    assert table.launches[INCUMBENT] == 0


def test_a_batch_that_heat_spoiled_is_timed_again(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    states = iter([COOL, HOT])
    table = Table({"0": 1.0})
    said = judged(table, race=Race(repeat=5), state=lambda: next(states, COOL))
    assert table.launches["0"] == 10
    assert len(said["0"].timing.workloads[0].samples_ms) == 5
    assert not any(one.spoiled for one in said["0"].timing.conditions)
