"""The race of a chunk, on processes that need no GPU: which kernels are timed, dropped and refused."""

import pytest

from kopt.device.cuda.race import ChunkRace, Race
from kopt.device.cuda.results.times import INCUMBENT
from kopt.model.build import Phase
from kopt.model.verdict import Failed, Incorrect, Passed
from kopt.sandbox.service import CallFailed
from tests.device.cuda.scripted import COOL, HOT, ScriptedBatch, no_results


def judged(batch, race=Race(repeat=40, keep=2), conditions=lambda: COOL):  # noqa: B008 - frozen
    chunk = ChunkRace(batch, no_results(), race, conditions)
    return dict(chunk.judge(batch.verified(batch.ms)))


def test_every_right_kernel_is_timed_with_a_ratio_to_the_incumbent():
    by_name = judged(ScriptedBatch({"0": 1.0, "1": 1.5, INCUMBENT: 2.0}))
    assert set(by_name) == {"0", "1"}
    (timed,) = by_name["0"].timing.workloads
    assert isinstance(by_name["0"].verdict, Passed)
    assert timed.ratio == pytest.approx(0.5, abs=0.01)
    assert timed.ratio_low <= timed.ratio <= timed.ratio_high
    assert timed.wall_ms == 2.0
    assert by_name["0"].timing.environment.uuid == "GPU-1"
    assert by_name["0"].timing.ratio == timed.ratio


def test_a_race_spends_its_launches_on_the_fast_ones():
    batch = ScriptedBatch({str(at): 10.0 + 5.0 * at for at in range(8)} | {INCUMBENT: 30.0})
    judged(batch)
    assert batch.launches["0"] == batch.launches["1"] == batch.launches[INCUMBENT] == 40
    assert batch.launches["7"] == 5


def test_kernels_whose_calls_take_little_time_are_all_timed_to_the_end():
    batch = ScriptedBatch({str(at): 0.1 + 0.05 * at for at in range(8)} | {INCUMBENT: 0.3})
    judged(batch)
    assert set(batch.launches.values()) == {40}


def test_what_the_calls_to_come_take_is_that_of_all_workloads():
    race = ChunkRace(ScriptedBatch({"0": 1.0}), no_results(), Race(), lambda: COOL)
    race.results.times.samples.update({"short": {"0": [0.05] * 5}, "long": {"0": [20.0] * 5}})
    assert race._call_s("0") == pytest.approx(0.021, rel=0.05)


def test_a_time_that_no_device_can_reach_is_refused():
    by_name = judged(ScriptedBatch({"0": 0.5, "1": 1.0}))
    assert by_name["0"].timing is None
    assert by_name["0"].verdict.phase is Phase.ROOFLINE
    assert isinstance(by_name["1"].verdict, Passed)


def test_each_failure_has_a_verdict_and_leaves_the_others_their_times():
    batch = ScriptedBatch(dict.fromkeys("0123", 1.0), unverified="0", unadmitted="1", wrong_when_timed="2")
    by_name = judged(batch)
    assert [type(by_name[name].verdict) for name in "0123"] == [Failed, Failed, Incorrect, Passed]
    assert [by_name[name].timing is None for name in "0123"] == [True, True, True, False]


def test_a_kernel_that_breaks_the_timer_is_found_and_dropped():
    for batch in (
        ScriptedBatch(dict.fromkeys("012", 1.0), breaks="1"),
        ScriptedBatch(dict.fromkeys("012", 1.0), breaks_early="1"),
    ):
        by_name = judged(batch)
        assert [type(by_name[name].verdict) for name in "012"] == [Passed, Failed, Passed]
        assert by_name["1"].verdict.phase is Phase.CRASH


def test_a_kernel_that_breaks_the_timer_only_beside_others_is_found_too():
    by_name = judged(ScriptedBatch(dict.fromkeys("012", 1.0), breaks_beside="1"))
    assert [type(by_name[name].verdict) for name in "012"] == [Passed, Failed, Passed]


def test_kernels_that_cannot_be_timed_side_by_side_are_timed_one_by_one():
    by_name = judged(ScriptedBatch({"0": 1.0, "1": 1.5, "2": 2.0, "3": 1.0}, breaks_beside="0123"))
    assert [type(by_name[name].verdict) for name in "0123"] == [Passed] * 4
    assert [by_name[name].timing.workloads[0].median_ms for name in "012"] == pytest.approx([1.0, 1.5, 2.0], rel=0.01)


def test_a_kernel_that_is_slower_on_inputs_it_did_not_have_before_is_refused():
    by_name = judged(ScriptedBatch({"0": 1.0, "1": 1.0, INCUMBENT: 2.0}, unseen={"1": 1.5}))
    assert isinstance(by_name["0"].verdict, Passed)
    assert by_name["1"].verdict.phase is Phase.REUSE
    assert "new inputs" in by_name["1"].verdict.reason


def test_a_slow_call_now_and_then_is_no_reuse():
    batch = ScriptedBatch(
        {"0": 1.0, "1": 1.0, INCUMBENT: 2.0}, unseen={"0": lambda turn: 3.0 if turn in (1, 3) else 1.0}
    )
    assert isinstance(judged(batch)["0"].verdict, Passed)
    assert batch.turns == 5


def test_a_kernel_that_is_slow_on_new_inputs_as_often_as_not_gets_the_benefit_of_the_doubt():
    batch = ScriptedBatch({"0": 1.0, INCUMBENT: 2.0}, unseen={"0": lambda turn: 1.2 if turn % 2 else 1.0})
    assert isinstance(judged(batch)["0"].verdict, Passed)
    assert batch.turns == 25


def test_what_slows_an_honest_control_down_too_is_no_reuse():
    batch = ScriptedBatch({"0": 1.0, "1": 1.0, INCUMBENT: 2.0}, unseen={"1": 1.1})
    batch.slower = 1.6
    by_name = judged(batch)
    assert isinstance(by_name["0"].verdict, Passed)
    assert by_name["1"].verdict.phase is Phase.REUSE


def test_without_an_incumbent_eager_is_the_control():
    batch = ScriptedBatch({"0": 1.0, "1": 1.0}, unseen={"1": 1.1})
    batch.slower = 1.6
    by_name = judged(batch)
    assert list(batch.baselines) == ["eager"]
    assert isinstance(by_name["0"].verdict, Passed)
    assert by_name["1"].verdict.phase is Phase.REUSE


def test_a_kernel_that_breaks_the_timer_on_new_inputs_costs_its_own_slot():
    by_name = judged(ScriptedBatch(dict.fromkeys("012", 1.0), breaks_unseen="1"), race=Race(repeat=40, keep=3))
    assert [type(by_name[name].verdict) for name in "012"] == [Passed, Failed, Passed]


def test_kernels_that_are_timed_alone_on_new_inputs_are_compared_with_the_results_of_their_own():
    by_name = judged(ScriptedBatch(dict.fromkeys("012", 1.0), breaks_unseen_beside="1"), race=Race(repeat=40, keep=3))
    assert [type(by_name[name].verdict) for name in "012"] == [Passed, Passed, Passed]


def test_a_kernel_is_not_blamed_for_results_that_the_referee_cannot_compare():
    with pytest.raises(CallFailed, match="out of memory"):
        judged(ScriptedBatch({"0": 1.0, "1": 1.0}, cannot_be_compared="1"))


@pytest.mark.parametrize("most", [1, 2, 3])
def test_kernels_that_together_need_too_much_memory_are_timed_alone_and_none_is_blamed(most):
    by_name = judged(ScriptedBatch(dict.fromkeys("0123", 1.0), most_in_memory=most), race=Race(repeat=40, keep=3))
    assert [type(by_name[name].verdict) for name in "0123"] == [Passed] * 4


def test_a_crash_says_what_broke():
    by_name = judged(ScriptedBatch({"0": 1.0, "1": 1.0}, breaks="1"))
    assert by_name["1"].verdict.reason == "it broke the process that timed it: the timer died"


def test_a_kernel_that_changes_an_input_when_it_is_timed_is_named():
    by_name = judged(ScriptedBatch(dict.fromkeys("012", 1.0), writes="1"))
    assert [type(by_name[name].verdict) for name in "012"] == [Passed, Failed, Passed]
    assert by_name["1"].verdict.phase is Phase.MUTATION


@pytest.mark.parametrize("culprit", "012")
def test_a_kernel_that_breaks_the_timer_beside_any_other_is_found_wherever_it_stands(culprit):
    by_name = judged(ScriptedBatch(dict.fromkeys("012", 1.0), breaks_beside=culprit))
    assert {name for name, kernel in by_name.items() if isinstance(kernel.verdict, Failed)} == {culprit}


def test_an_incumbent_that_fails_costs_the_ratios_only():
    by_name = judged(ScriptedBatch({"0": 1.0, INCUMBENT: 1.0}, unverified=(INCUMBENT,)))
    assert by_name["0"].timing.ratio is None
    assert isinstance(by_name["0"].verdict, Passed)


def test_when_only_the_incumbent_is_right_no_kernel_is_timed():
    batch = ScriptedBatch({"0": 1.0, INCUMBENT: 1.0}, unverified=("0",))
    assert isinstance(judged(batch)["0"].verdict, Failed)
    assert batch.launches[INCUMBENT] == 0


def test_a_batch_that_heat_spoiled_is_timed_again(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    states = iter([COOL, HOT])
    batch = ScriptedBatch({"0": 1.0})
    by_name = judged(batch, race=Race(repeat=5), conditions=lambda: next(states, COOL))
    assert batch.launches["0"] == 10
    assert len(by_name["0"].timing.workloads[0].samples_ms) == 5
    assert not any(state.spoiled for state in by_name["0"].timing.conditions)
