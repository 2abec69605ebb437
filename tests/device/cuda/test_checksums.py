"""Checksums of arguments: any change of memory shows, also changes that cancel out in sums with known factors."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from kopt.device.cuda.referee.checksums import CHECKED_WORDS, Checksums

checksums = Checksums()


@given(st.integers(1, 200), st.data())
def test_a_changed_byte_changes_the_checksum(size, data):
    tensor = torch.arange(size, dtype=torch.uint8)
    place, change = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, 255))
    changed = tensor.clone()
    changed[place] += change
    before, again, after = checksums([tensor, tensor, changed])
    assert before == again != after


def test_changes_that_cancel_out_with_other_factors_show():
    words = torch.zeros(CHECKED_WORDS + 8, dtype=torch.int64)
    exchanged, cancelled, across = words.clone(), words.clone(), words.clone()
    exchanged[0], exchanged[1] = 1, -1
    cancelled[0], cancelled[1] = 3, -1
    across[0], across[CHECKED_WORDS] = 1, -1
    before, *after = checksums([words, exchanged, cancelled, across])
    assert before not in after
    assert Checksums()([cancelled]) != checksums([cancelled])


def test_signs_that_change_in_pairs_show():
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        numbers = torch.randn(1000, dtype=dtype)
        assert checksums([-numbers]) != checksums([numbers])
    twos = torch.full((2,), 1 << 62)
    assert checksums([twos.bitwise_xor(-(2**63))]) != checksums([twos])
