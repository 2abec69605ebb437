"""Kernels are verified side by side, again alone where neighbours may be to blame, and replies are not trusted."""

import hashlib
import os
import pickle
from types import SimpleNamespace

import pytest
import torch

from kopt.device.cuda.contestant.reply import Reply, read_reply
from kopt.device.cuda.contestant.run_draw import DrawReport
from kopt.device.cuda.recording.program import RecordedCall, View
from kopt.device.cuda.results.verdicts import Recorded
from kopt.device.cuda.sharing.sheets import Sheet
from kopt.device.cuda.verification import verifier as module
from kopt.device.cuda.verification.verifier import RoundResult, Verifier
from kopt.device.cuda.verification.workload_names import of_distinct_names
from kopt.device.draws.distributions import plan
from kopt.device.expected.compare import Comparison
from kopt.device.expected.outputs import Contract, Described, DescribedOutput, ResultContract
from kopt.model.build import Phase
from kopt.model.kernel import Kernel
from kopt.model.problem import Workload
from kopt.model.verdict import Incorrect
from kopt.sandbox.cage import Limits
from kopt.sandbox.pipe import Malformed
from kopt.sandbox.reply import pack
from tests.device.small import SCALE


def test_a_cubin_with_another_digest_than_its_name_says_is_malformed():
    code = b"machine code"
    name = hashlib.sha256(code).hexdigest()
    assert read_reply(pack(Reply(), {name: code}))[1] == {name: code}
    with pytest.raises(Malformed, match="another digest"):
        read_reply(pack(Reply(), {name: b"other machine code"}))


class ScriptedVerifier(Verifier):
    """A verifier whose rounds have the results that it is given."""

    def __init__(self, *results):
        self._seed, self._workers, self._results, self.rounds = 1, 8, list(results), []

    def _run_round(self, kernels, workers, seed):
        self.rounds.append((list(kernels), workers))
        return self._results.pop(0)


KERNELS = {name: Kernel(source=f"# {name}") for name in "ab"}
GOOD = Recorded((), {}, (), {})


def test_a_kernel_that_found_no_memory_beside_others_is_verified_alone():
    verifier = ScriptedVerifier(RoundResult({"a": GOOD}, ["b"]), RoundResult({"b": GOOD}, []))
    assert verifier.verify(KERNELS) == {"a": GOOD, "b": GOOD}
    assert verifier.rounds == [(["a", "b"], 8), (["b"], 1)]


@pytest.mark.parametrize("starved", [[], ["b"]])
def test_when_a_kernel_touched_the_inputs_every_kernel_is_verified_alone(starved):
    """In whichever round it was; the second one makes the inputs anew."""
    outcomes = {name: GOOD for name in KERNELS if name not in starved}
    first = RoundResult(outcomes, starved, inputs_touched=True)
    again = [RoundResult({"b": GOOD}, [])] if starved else []
    alone = RoundResult({"a": GOOD}, [], inputs_touched=True), RoundResult({"b": GOOD}, [])
    verified = ScriptedVerifier(first, *again, *alone).verify(KERNELS)
    assert verified["a"].phase is Phase.MUTATION
    assert verified["b"] == GOOD


class ScriptedReferee:
    """A referee with slots for two contestants, that finds the outputs of some slots wrong."""

    def __init__(self, wrong_slots=()):
        self.wrong_slots, self.draws = wrong_slots, ()

    def begin(self, method, small, timed, hidden, seed, late):
        assert method == "make_verdict"
        self.draws = (*plan(small, *seed, timed=timed, hidden=hidden), late)

    def call(self, method, *arguments, seconds):
        return getattr(self, method)(*arguments)

    def slots(self, most):
        return [[Sheet(draw.workload, (), {}) for draw in self.draws] for _ in range(min(most, 2))]

    def memory_share(self, slots):
        return 0.5

    def contract(self, at):
        return ResultContract("Tensor", (Contract((2, 3), torch.float32, "cuda", stride=(3, 1)),))

    def judge_all(self, slot, places):
        return [Comparison(None, "2 of 4 elements are wrong" if slot in self.wrong_slots else "") for _ in places]

    def fill_with_nan(self, slot):
        return None

    def restore(self):
        return False


def honest(sheets):
    return replied(sheets)


def replied(sheets, drawn=(3, 1), **recorded):
    """The reply of a contestant whose outputs have the strides `drawn`, and which may record another view."""
    view = View(storage=0, offset=0, shape=(2, 3), stride=(3, 1), dtype="float32").model_copy(update=recorded)
    programs = tuple(RecordedCall(workload=w.name, arguments=1, steps=(), outputs=(view,)) for w in SCALE.main)
    return pack(Reply(reports=(report(stride=drawn),) * len(sheets), programs=programs))


def report(structure="Tensor", stride=(3, 1), launches=1):
    output = DescribedOutput(structure, (Described((2, 3), stride, "float32", "cuda"),))
    return DrawReport(output=output, launches=launches)


REPLIES = {
    "honest": honest,
    "garbage": lambda sheets: os.urandom(100),
    "dead": lambda sheets: os._exit(3),
    "exception": lambda sheets: 1 // 0,
    "no launch": lambda sheets: pack(Reply(reports=(report(launches=0),))),
    "no tensor": lambda sheets: pack(Reply(reports=(report("[Tensor]"),))),
    "other strides": lambda sheets: replied(sheets, drawn=(1, 2)),
    "other strides in the recorded call": lambda sheets: replied(sheets, stride=(1, 2)),
    "another shape in the recorded call": lambda sheets: replied(sheets, shape=(3, 2)),
    "too few draws": lambda sheets: pack(Reply(reports=(report(),))),
    "own failure": lambda sheets: pack(Reply(phase="import", reason="no module")),
}


def failing_on(sheets, workload):
    """The reply of a contestant that fails on a workload."""
    names = [sheet.workload.name for sheet in sheets]
    failed = DrawReport(phase="launch", reason="no luck")
    return pack(Reply(reports=(*(report(),) * names.index(workload), failed)))


def test_the_sizes_of_a_workload_are_told_unless_it_is_hidden(monkeypatch):
    groups = {"main": 33, "hidden": 77, "small": 11}
    made = {kind: (Workload(name=kind, constants={"N": size}),) for kind, size in groups.items()}
    for kind in groups:
        monkeypatch.setitem(REPLIES, kind, lambda sheets, kind=kind: failing_on(sheets, kind))
        outcome = verified(monkeypatch, kind, problem=SCALE.model_copy(update=made))[kind]
        told = {
            "main": "timed workload main (N=33)",
            "hidden": "hidden workload hidden (verified only; its sizes are hidden)",
            "small": "small workload small (verified only; N=11)",
        }
        assert (outcome.phase, outcome.reason) == (Phase.LAUNCH, f"{told[kind]}: no luck")


def verified(monkeypatch, *names, referee=None, problem=SCALE):
    """Outcomes of contestants that run no kernel, but really are caged children."""

    def contest(kernel, options, compiled):
        def task(report):
            sheets, _ = pickle.loads(report.ask())
            report.phase("import")
            return REPLIES[kernel.source](sheets)

        return task

    monkeypatch.setattr(module, "contest", contest)
    referee = referee or ScriptedReferee()
    processes = SimpleNamespace(problem=problem, referee=referee, driver=None, check_health=lambda: None)
    verifier = Verifier(processes, seed=1, workers=2, limits=Limits(wall_s=30.0))
    return verifier.verify({name: Kernel(source=name) for name in names})


def test_a_misbehaving_contestant_costs_its_own_kernel_only(monkeypatch):
    outcomes = verified(monkeypatch, *REPLIES)
    assert isinstance(outcomes.pop("honest"), Recorded)
    assert {name: verdict.phase for name, verdict in outcomes.items()} == {
        "garbage": Phase.CRASH,
        "dead": Phase.CRASH,
        "exception": Phase.CRASH,
        "no launch": Phase.FALLBACK,
        "no tensor": Phase.CONTRACT,
        "other strides": Phase.CONTRACT,
        "other strides in the recorded call": Phase.CONTRACT,
        "another shape in the recorded call": Phase.CONTRACT,
        "too few draws": Phase.CRASH,
        "own failure": Phase.IMPORT,
    }


def test_an_output_that_the_referee_finds_wrong_is_incorrect(monkeypatch):
    outcomes = verified(monkeypatch, "honest", referee=ScriptedReferee(wrong_slots=(0, 1)))
    assert isinstance(outcomes["honest"], Incorrect)


def test_workloads_of_one_name_are_told_apart():
    of = [Workload(name="ragged", constants={"N": size}) for size in (3, 2, 1)]
    problem = SCALE.model_copy(update={"main": (of[0],), "hidden": (of[1],), "small": (of[2],)})
    named = [[(w.name, w.constants["N"]) for w in group] for group in of_distinct_names(problem)]
    assert named == [[("ragged", 3)], [("hidden ragged", 2)], [("small ragged", 1)]]
