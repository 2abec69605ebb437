"""Pack and unpack the reply of a caged child, a model and named blobs, without trusting anything in it.

8 bytes     length of the index, little endian
index       JSON: the length of the model, then name and length of each blob
model       JSON
blobs       in the order of the index, up to the end of the reply
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, NonNegativeInt, TypeAdapter

from kopt.sandbox.pipe import Malformed

M = TypeVar("M", bound=BaseModel)

_INDEX = TypeAdapter(tuple[NonNegativeInt, tuple[tuple[str, NonNegativeInt], ...]])
_LENGTH_BYTES = 8


def pack(value: BaseModel, blobs: Mapping[str, bytes] | None = None) -> bytes:
    """Write a reply.

    Args:
        value: the model; its infinities and NaNs survive.
        blobs: by name.
    """
    blobs = blobs or {}
    model = json.dumps(value.model_dump(mode="json")).encode()  # `model_dump_json` makes null of an infinity
    index = json.dumps([len(model), [(name, len(blob)) for name, blob in blobs.items()]]).encode()
    return b"".join([len(index).to_bytes(_LENGTH_BYTES, "little"), index, model, *blobs.values()])


def unpack(data: bytes, model: type[M]) -> tuple[M, dict[str, bytes]]:
    """Read the model and the blobs, by name, of a reply.

    Raises:
        Malformed: the bytes are not a reply with such a model.
    """
    start = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")
    try:
        model_length, lengths = _INDEX.validate_json(data[_LENGTH_BYTES:start])
        value = model.model_validate_json(data[start : start + model_length])
    except (ValueError, RecursionError) as error:
        raise Malformed("the reply cannot be parsed") from error
    start += model_length
    blobs = {}
    for name, length in lengths:
        blobs[name] = data[start : start + length]
        start += length
    if start != len(data) or len(blobs) != len(lengths):
        raise Malformed("the blobs of the reply are not those of its index")
    return value, blobs


def check_digests(blobs: Mapping[str, bytes]) -> None:
    """Check that every blob is named by its SHA-256, or by a kind, a slash and its SHA-256.

    Raises:
        Malformed: the bytes of a blob have another digest than its name says.
    """
    for name, blob in blobs.items():
        if hashlib.sha256(blob).hexdigest() != name.rpartition("/")[2]:
            raise Malformed(f"the blob {name} has another digest than its name says")
