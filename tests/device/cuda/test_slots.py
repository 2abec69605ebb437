"""Contestants that run side by side get slots of their own."""

import pickle

from hypothesis import given
from hypothesis import strategies as st

from kopt.device.cuda.verification.slots import Slots


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
