"""What goes through the pipe from a caged child: length-prefixed frames that begin with the child's nonce."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field

NONCE_BYTES = 16
PHASE, RETURNED, RAISED, STATUS = b"P", b"R", b"E", b"S"
_HEAD = struct.Struct(f"<{NONCE_BYTES}scQ")


class Malformed(Exception):
    """Bytes on the pipe that are no frame of this child, or a frame above the limit."""


@dataclass(frozen=True)
class Report:
    """What a task holds to tell its parent where it is."""

    descriptor: int
    nonce: bytes

    def phase(self, name: str) -> None:
        """Name what the task does from now on; a limit or a death is reported with it."""
        self.send(PHASE, name.encode())

    def send(self, kind: bytes, payload: bytes) -> None:
        """Write one frame."""
        view = memoryview(_HEAD.pack(self.nonce, kind, len(payload)) + payload)
        while view:
            view = view[os.write(self.descriptor, view) :]


@dataclass
class Frames:
    """Puts frames together from what was read."""

    nonce: bytes
    limit: int
    """Longest payload in bytes."""
    _pending: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """The frames that `data` completes, as (kind, payload).

        Raises:
            Malformed: the nonce or the length is wrong.
        """
        self._pending += data
        frames = []
        while len(self._pending) >= _HEAD.size:
            nonce, kind, length = _HEAD.unpack_from(self._pending)
            if nonce != self.nonce:
                raise Malformed("the result pipe holds something that is no frame of this child")
            if length > self.limit:
                raise Malformed(f"a result of {length} bytes is above the limit of {self.limit}")
            end = _HEAD.size + length
            if len(self._pending) < end:
                break
            frames.append((kind, bytes(self._pending[_HEAD.size : end])))
            del self._pending[:end]
        return frames
