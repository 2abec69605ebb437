"""Verdicts on candidates whose replay is wrong or breaks the timer, on processes that need no GPU."""

from types import SimpleNamespace

import pytest

from kopt.device.cuda.results.verdicts import Recorded
from kopt.device.cuda.sharing.sheets import Sheet
from kopt.device.cuda.timing.batch import InputChanged, Pair, TimedBatch
from kopt.device.draws.distributions import Draw
from kopt.device.expected.compare import Comparison
from kopt.errors import WorkerDied
from kopt.model.build import Phase
from kopt.model.kernel import Kernel
from kopt.model.problem import Workload
from kopt.sandbox.service import CallFailed

MAIN = Workload(name="main", constants={})
DRAWS = [Draw(MAIN, name, at) for at, name in enumerate(["normal", "normal", "integer", "range"])]
RIGHT, WRONG = Comparison(None, ""), Comparison(None, "2 of 4 elements are wrong")


NOTHING = Recorded((), {}, (), {})


class Process:
    """Answers calls as a test says; notes them."""

    def __init__(self, name, **answers):
        self.name, self.pid, self.answers, self.asked = name, 7, answers, []

    def call(self, method, *arguments, seconds):
        self.asked.append((method, *arguments))
        answer = self.answers.get(method)
        answer = answer(*arguments) if callable(answer) else answer
        if isinstance(answer, Exception):
            raise answer
        return answer


def sheets(changed=()):
    """Sheets of the draws, whose arguments are called A and B."""
    return [Sheet(MAIN, (), dict.fromkeys(("A", "B")), changed=changed)] * len(DRAWS)


class ScriptedProcesses:
    """Processes whose answers a test gives."""

    def __init__(self, timer=None, **referee):
        self.problem = SimpleNamespace(main=(MAIN,), seed=Kernel(source=""))
        self.timer = Process("the timer", **({"check": True} | (timer or {})))
        self.referee = Process("the referee", **({"judge": judged(), "mutated": ()} | referee))

    def start_timer(self):
        return self.timer

    def end_timing(self):
        pass

    def check_health(self):
        pass


def judged(wrong=(), ghost=WRONG):
    """The referee's comparisons: only the ghost is compared on the second set."""
    return lambda slot, at: ghost if at == 1 else WRONG if at in wrong else RIGHT


def admitted(processes, changed=()):
    return TimedBatch(processes, DRAWS, sheets(changed)).admit({"one": NOTHING}).get("one")


def test_a_replay_is_verified_on_every_distribution_and_without_its_launches():
    processes = ScriptedProcesses()
    assert admitted(processes) is None
    checks = [asked[3:] for asked in processes.timer.asked if asked[0] == "check"]
    assert checks == [(0, False), (2, False), (3, False), (1, True, 255)]


def test_all_candidates_are_verified_on_one_input_set_after_the_other():
    processes = ScriptedProcesses()
    assert TimedBatch(processes, DRAWS, sheets()).admit({"one": NOTHING, "two": NOTHING}) == {}
    judged_on = [asked[2] for asked in processes.referee.asked if asked[0] == "judge"]
    assert judged_on == [0, 0, 2, 2, 3, 3, 1, 1]


def test_a_candidate_that_breaks_the_timer_is_not_asked_again_and_the_others_go_on():
    def check(name, workload, place, ghost, *_):
        return CallFailed("CUDA error", "the timer") if (name, place) == ("bad", 2) else True

    processes = ScriptedProcesses(timer={"check": check})
    verdicts = TimedBatch(processes, DRAWS, sheets()).admit({"one": NOTHING, "bad": NOTHING, "two": NOTHING})
    assert {name: verdict.phase for name, verdict in verdicts.items()} == {"bad": Phase.LAUNCH}
    loads = [asked[1] for asked in processes.timer.asked if asked[0] == "load"]
    assert loads == ["one", "bad", "two", "one", "two"]
    asked = [asked[1:4:2] for asked in processes.timer.asked if asked[0] == "check"]
    assert [place for name, place in asked if name == "bad"] == [0, 2]
    assert [place for name, place in asked if name == "two"] == [0, 2, 3, 1]


@pytest.mark.parametrize(
    ("reason", "released"), [("OutOfMemoryError: CUDA out of memory. Tried to allocate 8.00 GiB", 1), ("CUDA error", 0)]
)
def test_the_referee_frees_what_saves_time_where_memory_was_short(reason, released):
    processes = ScriptedProcesses(timer={"check": CallFailed(reason, "the timer")})
    assert admitted(processes) is not None
    assert [method for method, *_ in processes.referee.asked].count("release") == released


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
    verdicts = TimedBatch(changing(culprit), DRAWS, sheets()).admit(dict.fromkeys(order, NOTHING))
    assert {name: verdict.phase for name, verdict in verdicts.items()} == {"bad": Phase.MUTATION}


def test_only_sets_of_the_timed_distribution_are_timed_on():
    processes = ScriptedProcesses()
    TimedBatch(processes, DRAWS, sheets())
    assert ("open", sheets(), {"main": 2}) in processes.timer.asked


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
