"""What goes through the pipes of a caged child.

To its parent: length-prefixed frames that begin with the child's nonce.  To the child, if it asks: one message.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from dataclasses import dataclass, field

NONCE_BYTES = 16
PHASE, ASKED, RETURNED, RAISED, STATUS = b"P", b"A", b"R", b"E", b"S"
_HEAD = struct.Struct(f"<{NONCE_BYTES}scQ")
_LENGTH = struct.Struct("<Q")


class Malformed(Exception):
    """Bytes from a caged child that are not what they should be: no frame, a frame above the limit, no reply."""


@dataclass(frozen=True)
class Report:
    """What a task holds to tell its parent where it is, and to ask it."""

    descriptor: int
    nonce: bytes
    inbox: int = -1
    """Where the parent's message comes from; -1 if there will be none."""

    def phase(self, name: str) -> None:
        """Name what the task does from now on; a limit or a death is reported with it."""
        self.send(PHASE, name.encode())

    def ask(self) -> bytes:
        """The parent's message to this task; waits for it, and may be called once.

        Raises:
            EOFError: the parent has none.
        """
        self.send(ASKED, b"")
        with os.fdopen(self.inbox, "rb") as inbox:
            head = inbox.read(_LENGTH.size)
            length = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else -1
            message = inbox.read(max(length, 0))
        if len(message) != length:
            raise EOFError("the parent has no message")
        return message

    def send(self, kind: bytes, payload: bytes) -> None:
        """Write one frame."""
        view = memoryview(_HEAD.pack(self.nonce, kind, len(payload)) + payload)
        while view:
            view = view[os.write(self.descriptor, view) :]


def write_message(inbox: int, message: bytes) -> None:
    """Send a child the message that it asked for, and close its inbox; a child that has died gets nothing."""
    with suppress(BrokenPipeError), os.fdopen(inbox, "wb") as pipe:
        pipe.write(_LENGTH.pack(len(message)) + message)


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
