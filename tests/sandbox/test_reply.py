"""A reply of a caged child comes back as it was sent, and bytes that are none are `Malformed` and nothing else."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from kopt.device.cuda.recording.program import Many, Scalar
from kopt.sandbox.pipe import Malformed
from kopt.sandbox.reply import check_digests, pack, unpack


class Said(BaseModel):
    word: str = ""
    numbers: tuple[float, ...] = ()
    scalar: Scalar | None = None


SAID = st.builds(
    Said,
    word=st.text(st.characters(exclude_categories=["Cs"])),
    numbers=st.lists(st.floats(allow_nan=False)).map(tuple),
)
BLOBS = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.binary(), max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(SAID, BLOBS)
def test_a_reply_survives_the_pipe(said, blobs):
    assert unpack(pack(said, blobs), Said) == (said, blobs)


@pytest.mark.parametrize("value", [1, True, 1.5, -float("inf"), "text", None])
def test_a_scalar_keeps_its_type(value):
    read, _ = unpack(pack(Said(scalar=Scalar(value=value))), Said)
    assert (read.scalar.value, type(read.scalar.value)) == (value, type(value))


@given(st.binary())
def test_random_bytes_are_malformed(data):
    with pytest.raises(Malformed):
        unpack(data, Said)


def framed(index, model: bytes, rest: bytes = b"") -> bytes:
    head = json.dumps(index).encode()
    return len(head).to_bytes(8, "little") + head + model + rest


@given(JSON, JSON, st.binary(max_size=20))
def test_random_json_in_the_right_frame_is_a_reply_or_malformed(index, model, rest):
    model = json.dumps(model).encode()
    for data in (framed(index, model, rest), framed([len(model), []], model, rest), framed([2, index], b"{}", rest)):
        try:
            unpack(data, Said)
        except Malformed:
            continue


@given(SAID, BLOBS, st.data())
def test_a_reply_that_is_cut_off_or_longer_is_malformed(said, blobs, data):
    whole = pack(said, blobs)
    for changed in (whole[: data.draw(st.integers(0, len(whole) - 1))], whole + b"x"):
        with pytest.raises(Malformed):
            unpack(changed, Said)


@pytest.mark.parametrize(
    ("index", "rest"),
    [([2, [["a", -1]]], b"a"), ([2, [["a", 1], ["a", 1]]], b"ab"), ([2, [["a", 10**30]]], b""), ([-2, []], b"")],
)
def test_an_index_that_lies_is_malformed(index, rest):
    with pytest.raises(Malformed):
        unpack(framed(index, b"{}", rest), Said)


def test_a_model_that_is_nested_without_end_is_malformed():
    text = b'{"kind": "many", "items": [' * 5000 + b"]}" * 5000
    with pytest.raises(Malformed):
        unpack(framed([len(text), []], text), Many)


@pytest.mark.parametrize("prefix", ["", "ptx/"])
def test_a_blob_must_have_the_digest_that_it_is_named_by(prefix):
    name = prefix + hashlib.sha256(b"code").hexdigest()
    check_digests({name: b"code"})
    with pytest.raises(Malformed, match="another digest"):
        check_digests({name: b"other code"})
