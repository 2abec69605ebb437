"""Verdicts on candidates whose replay is wrong or breaks the timer, on processes that need no GPU."""

import pytest

from kopt.device.cuda.timing.admission import Admission
from kopt.device.cuda.timing.loaded_timer import LoadedTimer
from kopt.errors import WorkerDied
from kopt.model.build import Phase
from kopt.sandbox.service import CallFailed
from tests.device.cuda.scripted_processes import DRAWS, NOTHING, RIGHT, WRONG, ScriptedProcesses, judged, sheets


def admission(processes, changed=()):
    return Admission(LoadedTimer(processes, DRAWS, sheets(changed)))


def admitted(processes, changed=()):
    return admission(processes, changed).admit({"one": NOTHING}).get("one")


def test_a_replay_is_verified_on_every_distribution_and_without_its_launches():
    processes = ScriptedProcesses()
    assert admitted(processes) is None
    checks = [asked[3:] for asked in processes.timer.asked if asked[0] == "check"]
    assert checks == [(0, False), (2, False), (3, False), (1, True, 255)]


def test_all_candidates_are_verified_on_one_input_set_after_the_other():
    processes = ScriptedProcesses()
    assert admission(processes).admit({"one": NOTHING, "two": NOTHING}) == {}
    judged_on = [asked[2] for asked in processes.referee.asked if asked[0] == "judge"]
    assert judged_on == [0, 0, 2, 2, 3, 3, 1, 1]


def test_a_candidate_that_breaks_the_timer_is_not_asked_again_and_the_others_go_on():
    def check(name, workload, place, ghost, *_):
        return CallFailed("CUDA error", "the timer") if (name, place) == ("bad", 2) else True

    processes = ScriptedProcesses(timer={"check": check})
    verdicts = admission(processes).admit({"one": NOTHING, "bad": NOTHING, "two": NOTHING})
    assert {name: verdict.phase for name, verdict in verdicts.items()} == {"bad": Phase.LAUNCH}
    loads = [asked[1] for asked in processes.timer.asked if asked[0] == "load"]
    assert loads == ["one", "bad", "two", "one", "two"]
    asked = [asked[1:4:2] for asked in processes.timer.asked if asked[0] == "check"]
    assert [place for name, place in asked if name == "bad"] == [0, 2]
    assert [place for name, place in asked if name == "two"] == [0, 2, 3, 1]


@pytest.mark.parametrize(
    ("reason", "released"), [("OutOfMemoryError: CUDA out of memory. Tried to allocate 8.00 GiB", 2), ("CUDA error", 0)]
)
def test_the_referee_frees_what_saves_time_where_memory_was_short(reason, released):
    processes = ScriptedProcesses(timer={"check": CallFailed(reason, "the timer")})
    assert admitted(processes) is not None
    assert [method for method, *_ in processes.referee.asked].count("release") == released


def test_a_candidate_is_tried_again_once_where_the_timer_had_too_little_memory():
    answers = [CallFailed("OutOfMemoryError: CUDA out of memory", "the timer")]
    processes = ScriptedProcesses(timer={"check": lambda *_: answers.pop() if answers else True})
    assert admitted(processes) is None
    assert [method for method, *_ in processes.referee.asked].count("release") == 1


def changing(culprit):
    """Processes whose input sets a candidate changes: (name, place that it replays, place that it changes)."""
    dirty = set()

    def check(name, workload, place, ghost, *_):
        dirty.update({culprit[2]} if (name, place) == culprit[:2] else ())
        return True

    def mutated(at):
        changed = (0,) if at in dirty else ()
        dirty.discard(at)
        return changed

    return ScriptedProcesses(timer={"check": check}, mutated=mutated)


@pytest.mark.parametrize("culprit", [("bad", 0, 2), ("bad", 3, 0), ("bad", 1, 0), ("bad", 0, 0), ("bad", 3, 1)])
@pytest.mark.parametrize("order", [("honest", "bad"), ("bad", "honest")])
def test_who_changes_another_input_set_is_refused_and_not_who_notices(culprit, order):
    verdicts = admission(changing(culprit)).admit(dict.fromkeys(order, NOTHING))
    assert {name: verdict.phase for name, verdict in verdicts.items()} == {"bad": Phase.MUTATION}


@pytest.mark.parametrize("at", [0, 2, 3])
def test_a_replay_that_is_wrong_on_one_distribution_is_incorrect(at):
    assert "replayed" in admitted(ScriptedProcesses(judge=judged(wrong=[at]))).reason


def test_an_output_that_needs_no_launch_is_incorrect():
    assert "without" not in admitted(ScriptedProcesses(judge=judged(wrong=[0]))).reason
    assert "left out" in admitted(ScriptedProcesses(judge=judged(ghost=RIGHT))).reason


def test_an_output_that_is_right_by_luck_on_one_fill_of_new_memory_needs_its_launches():
    answers = iter([RIGHT, WRONG])
    processes = ScriptedProcesses(judge=lambda slot, at: next(answers) if at == 1 else RIGHT)
    assert admitted(processes) is None
    assert [asked[3:] for asked in processes.timer.asked[-2:]] == [(1, True, 255), (1, True, 0)]


def test_every_input_that_a_replay_changes_counts_not_only_the_first():
    changed = {"mutated": lambda at: (0, 1) if at == 0 else ()}
    assert admitted(ScriptedProcesses(**changed), changed=("A", "B")) is None
    verdict = admitted(ScriptedProcesses(**changed), changed=("A",))
    assert verdict.phase is Phase.MUTATION
    assert "B is changed" in verdict.reason


def test_a_launch_that_breaks_the_timer_is_the_candidates_fault():
    verdict = admitted(ScriptedProcesses(timer={"check": CallFailed("CUDA error", "the timer")}))
    assert verdict.phase is Phase.LAUNCH


def test_a_referee_that_breaks_is_not_the_candidates_fault():
    with pytest.raises(CallFailed, match="out of memory"):
        admitted(ScriptedProcesses(judge=CallFailed("out of memory", "the referee")))
    processes = ScriptedProcesses(judge=WorkerDied("the referee died"))
    processes.referee.pid = 0
    with pytest.raises(WorkerDied):
        admitted(processes)
