import hashlib
import pickle
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopt.device.cuda.bench import JudgeProcesses, _Round, _Slots
from kopt.device.cuda.contestant import Reply, read_reply
from kopt.device.cuda.launch import is_plain
from kopt.device.cuda.program import (
    Allocate,
    Descriptor,
    HostTensor,
    KernelLaunch,
    Many,
    Named,
    Operation,
    RecordedCall,
    Scalar,
    View,
)
from kopt.device.cuda.verdicts import Recorded
from kopt.model.build import Phase
from kopt.model.kernel import Kernel
from kopt.sandbox.pipe import Malformed
from kopt.sandbox.reply import pack

VIEW = View(storage=0, offset=3, shape=(2, 4), stride=(4, 1), dtype="bfloat16")
PROGRAM = RecordedCall(
    workload="main",
    arguments=2,
    steps=(
        Allocate(storage=2, bytes=64),
        Operation(name="aten::fill_.Scalar", arguments=(VIEW, Scalar(value=0)), named=(("x", Named(name="cuda")),)),
        KernelLaunch(
            binary="ab", name="k", grid=(1, 2, 3), signature=("*bf16", "constexpr", ["i32", "*fp32"]),
            arguments=(
                VIEW, Scalar(value=None), Many(items=(Scalar(value=1), Scalar(value=True), Scalar(value=1.5))),
                Descriptor(base=VIEW, shape=(2,), strides=(1,), block_shape=(2,), options=(("padding", "zero"),)),
                HostTensor(dtype="float32", shape=(1,), data="00000000"),
            ),
            metadata={"num_warps": 4, "shared": 0, "tensordesc_meta": [{"swizzle": 3}]},
        ),
    ),
    output=VIEW,
)  # fmt: skip


def test_a_program_survives_the_pipe():
    assert RecordedCall.model_validate_json(PROGRAM.model_dump_json()) == PROGRAM
    assert PROGRAM.binaries == {"ab"}


def test_numbers_and_truth_values_stay_what_they_are():
    read = RecordedCall.model_validate_json(PROGRAM.model_dump_json()).steps[2].arguments[2]
    assert [type(one.value) for one in read.items] == [int, bool, float]


@pytest.mark.parametrize(
    ("signature", "plain"),
    [
        (("*bf16", "i32", "constexpr", "fp32"), True),
        (("*bf16", "tensordesc<bf16[64, 64]>"), False),
        (("*bf16", ("i32", "i32")), False),
        (("nvTmaDesc",), False),
        (("fp16",), False),
    ],
)
def test_only_pointers_and_numbers_are_launched_without_triton(signature, plain):
    assert is_plain(signature) is plain


def test_a_binary_that_is_not_the_one_it_is_called_is_refused():
    code = b"machine code"
    name = hashlib.sha256(code).hexdigest()
    assert read_reply(pack(Reply(), {name: code}))[1] == {name: code}
    with pytest.raises(Malformed, match="another digest"):
        read_reply(pack(Reply(), {name: b"other machine code"}))


class Rounds(JudgeProcesses):
    """A bench whose rounds come to what they are told."""

    def __init__(self, *rounds):
        self._seed, self._workers, self._rounds, self.asked = 1, 8, list(rounds), []

    def _round(self, kernels, workers, seed):
        self.asked.append((list(kernels), workers))
        return self._rounds.pop(0)


KERNELS = {name: Kernel(source=f"# {name}") for name in "ab"}
GOOD = Recorded((), {}, (), {})


def test_who_found_no_memory_beside_others_is_verified_alone():
    bench = Rounds(_Round({"a": GOOD}, ["b"]), _Round({"b": GOOD}, []))
    assert bench.verify(KERNELS) == {"a": GOOD, "b": GOOD}
    assert bench.asked == [(["a", "b"], 8), (["b"], 1)]


@pytest.mark.parametrize("starved", [[], ["b"]])
def test_when_somebody_touched_the_inputs_everybody_is_verified_alone(starved):
    """In whichever round it was; the second one makes the inputs anew."""
    first = _Round({name: GOOD for name in KERNELS if name not in starved}, starved, touched=True)
    again = [_Round({"b": GOOD}, [])] if starved else []
    bench = Rounds(first, *again, _Round({"a": GOOD}, [], touched=True), _Round({"b": GOOD}, []))
    heard = bench.verify(KERNELS)
    assert heard["a"].phase is Phase.MUTATION
    assert heard["b"] == GOOD


class Two(JudgeProcesses):
    """A bench with two arguments, of which A may change."""

    def __init__(self):
        self.problem = SimpleNamespace(mutates=("A",))

    def _arguments(self, sheet):
        return ["A", "B"]


@pytest.mark.parametrize(("changed", "name"), [((), ""), ((0,), ""), ((0, 1), "B"), ((7,), "?"), ((-1,), "?")])
def test_the_first_argument_that_may_not_change_is_named(changed, name):
    assert Two().forbidden(None, changed) == name


class TwoSlots:
    """A referee that has room for two contestants."""

    def __init__(self):
        self.poisoned = []

    def call(self, method, *arguments, seconds):
        if method == "poison":
            self.poisoned += arguments
        return {"slots": [["a"], ["b"]], "memory_share": 0.25, "poison": None}[method]


@given(st.integers(1, 12), st.randoms(use_true_random=False))
def test_no_two_contestants_share_a_slot_and_everybody_gets_one(total, rng):
    referee, waiting, told = TwoSlots(), list(range(total)), []
    slots = _Slots(referee, most=4)
    while waiting or told:
        for at in list(waiting):
            message = slots.tell(at)
            if message is not None:
                waiting.remove(at)
                told.append(at)
                given_sheets, share = pickle.loads(message)
                assert (list(given_sheets), share) == (list(slots.of(at).sheets), 0.25)
        assert 1 <= len(told) <= 2 == slots.count
        assert len({slots.of(at).number for at in told}) == len(told)
        slots.release(told.pop(rng.randrange(len(told))))
    assert len(referee.poisoned) == total


def test_a_contestant_that_was_told_of_no_slot_has_none_to_give_back():
    slots = _Slots(TwoSlots(), most=2)
    slots.release(3)
    assert slots.of(3) is None
