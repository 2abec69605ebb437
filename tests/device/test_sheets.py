"""Slots are shared out one contestant each, and a changed argument is named."""

import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kopt.device.cuda.sharing.ipc import Shared
from kopt.device.cuda.sharing.sheets import ArgumentName, Sheet, forbidden_argument
from kopt.device.cuda.verification.slots import Slots
from kopt.device.reference.tree import with_tensors_replaced
from kopt.model.problem import Workload


@pytest.mark.parametrize(("changed", "name"), [((), ""), ((0,), ""), ((0, 1), "B"), ((7,), "?"), ((-1,), "?")])
def test_the_first_argument_that_may_not_change_is_named(changed, name):
    sheet = Sheet(Workload(name="main"), (), {"A": SHARED, "B": SHARED}, changed=("A",))
    assert forbidden_argument(sheet, changed) == name


def test_torchs_counter_of_calls_may_change():
    names = ("buffer norm.num_batches_tracked", "buffer norm.running_mean")
    sheet = Sheet(Workload(name="main"), (), dict.fromkeys(names, SHARED))
    assert forbidden_argument(sheet, [0]) == ""
    assert forbidden_argument(sheet, [0, 1]) == "buffer norm.running_mean"


def test_nested_inputs_get_the_tensors_of_their_names():
    tensors = {"input x[0]": torch.zeros(1), "input y['k']": torch.ones(1), "input z": torch.ones(2)}
    values = {
        "x": [tensors["input x[0]"], None],
        "y": {"k": tensors["input y['k']"]},
        "z": tensors["input z"],
        "n": "z",
    }
    inputs = tuple(
        with_tensors_replaced(value, f"input {name}", lambda name, _: ArgumentName(name))
        for name, value in values.items()
    )
    again = Sheet(Workload(name="main"), inputs, dict.fromkeys(tensors, SHARED)).with_tensors(tensors)
    assert again == tuple(values.values())


SHARED = Shared(b"", 4, (1,), (1,), "float32")


class RefereeWithTwoSlots:
    """A referee that has memory for two contestants."""

    def __init__(self):
        self.filled_with_nan = []

    def call(self, method, *arguments, seconds):
        if method == "fill_with_nan":
            self.filled_with_nan += arguments
        return {"slots": [["a"], ["b"]], "memory_share": 0.25, "fill_with_nan": None}[method]


@given(st.integers(1, 12), st.randoms(use_true_random=False))
def test_no_two_contestants_share_a_slot_and_every_contestant_gets_one(total, rng):
    referee, waiting, working = RefereeWithTwoSlots(), list(range(total)), []
    slots = Slots(referee, most=4)
    while waiting or working:
        for contestant in list(waiting):
            message = slots.message_for(contestant)
            if message is not None:
                waiting.remove(contestant)
                working.append(contestant)
                assigned, share = pickle.loads(message)
                assert (list(assigned), share) == (list(slots.slot_of(contestant).sheets), 0.25)
        assert 1 <= len(working) <= 2 == slots.count
        assert len({slots.slot_of(contestant).number for contestant in working}) == len(working)
        slots.release(working.pop(rng.randrange(len(working))))
    assert len(referee.filled_with_nan) == total


def test_a_contestant_without_a_slot_has_none_to_give_back():
    slots = Slots(RefereeWithTwoSlots(), most=2)
    slots.release(3)
    assert slots.slot_of(3) is None
