"""Calls of subjects that are timed together, on processes that need no GPU."""

import pytest

from kopt.device.baselines.compilations import Subject
from kopt.device.cuda.timing.batch import InputChanged, Pair, TimedBatch
from kopt.sandbox.service import CallFailed
from tests.device.cuda.scripted_processes import DRAWS, NOTHING, WRONG, ScriptedProcesses, sheets

SUBJECT = Subject("compile", "compile", 0, "")


def test_only_sets_of_the_timed_distribution_are_timed_on():
    processes = ScriptedProcesses()
    batch = TimedBatch(processes, DRAWS, sheets())
    assert processes.timer.asked == []  # no timer is started for nothing
    assert batch.timer is processes.timer
    assert processes.timer.asked == [("open", sheets(), {"main": 2})]


@pytest.mark.parametrize("answers", [[b"caches"], [CallFailed("GpuBusy: waited 600 s for GPU-0"), b"caches"]])
def test_a_baseline_is_compiled_again_where_others_kept_the_lent_gpu(answers):
    processes = ScriptedProcesses(timer={"compile": lambda subject: answers.pop(0)})
    assert TimedBatch(processes, DRAWS, sheets()).compile(SUBJECT, 1.0) == b"caches"
    assert not answers


def test_a_baseline_that_does_not_compile_is_tried_once():
    processes = ScriptedProcesses(timer={"compile": CallFailed("RuntimeError: no such operator")})
    with pytest.raises(CallFailed, match="no such operator"):
        TimedBatch(processes, DRAWS, sheets()).compile(SUBJECT, 1.0)
    assert [asked[0] for asked in processes.timer.asked] == ["open", "compile"]


def test_a_timed_call_that_changes_an_input_is_seen_before_an_answer_is_made_of_it():
    processes = ScriptedProcesses(timer={"race": {"one": [1.0]}}, mutated=lambda at: (1,) if at == 1 else ())
    with pytest.raises(InputChanged, match="B was changed"):
        TimedBatch(processes, DRAWS, sheets()).race(["one"], 1, 0)
    assert not any(asked[0] == "judge" for asked in processes.referee.asked)


def test_new_inputs_are_made_for_each_turn_in_the_place_of_the_known_ones():
    processes = ScriptedProcesses(timer={"alternate": {"one": (1.0, 2.0)}})
    batch = TimedBatch(processes, DRAWS, sheets())
    for turn in range(3):
        assert batch.alternate(["one"], turn, keep=False) == {"main": {"one": Pair(1.0, 2.0)}}
    inputs_renewed = [asked[1] for asked in processes.referee.asked if asked[0] == "renew"]
    assert [list(draws) for draws in inputs_renewed] == [[0], [1], [0]]
    assert len({DRAWS[0].seed, inputs_renewed[0][0].seed, inputs_renewed[2][0].seed}) == 3
    asked = [asked[3:5] for asked in processes.timer.asked if asked[0] == "alternate"]
    assert asked == [(0, 1), (1, 0), (0, 1)]


def test_a_candidate_is_admitted_before_it_is_timed():
    processes = ScriptedProcesses(judge=lambda slot, at: WRONG)
    assert list(TimedBatch(processes, DRAWS, sheets()).admit({"one": NOTHING})) == ["one"]
