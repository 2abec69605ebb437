"""Memory that launches ask for holds nothing of an earlier call."""

from kopt.device.cuda.timer.scratch import Scratch


def test_scratch_memory_is_made_anew_for_every_call_of_a_subject():
    scratch = Scratch("cpu")
    scratch.begin("one")
    first = [scratch(size, 128, None) for size in (64, 64, 256)]
    for memory in first:
        memory.fill_(7)
    scratch.begin("other")
    assert len(scratch(32, 128, None)) == 32
    scratch.begin("one")
    again = [scratch(size, 128, None) for size in (64, 64, 256)]
    assert [len(memory) for memory in again] == [64, 64, 256]
    assert all((memory == -1).all() for memory in again)
    assert len({memory.data_ptr() for memory in again}) == 3
