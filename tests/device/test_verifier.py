"""Kernels are verified side by side, again alone where neighbours may be to blame, and replies are not trusted."""

import hashlib

import pytest

from kopt.device.cuda.contestant import Reply, read_reply
from kopt.device.cuda.verdicts import Recorded
from kopt.device.cuda.verifier import RoundResult, Verifier
from kopt.model.build import Phase
from kopt.model.kernel import Kernel
from kopt.sandbox.pipe import Malformed
from kopt.sandbox.reply import pack


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
