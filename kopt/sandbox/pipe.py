"""Carry frames from a caged child to its parent, and one message back to a child that asks.

A frame is a nonce that only this child's frames have, a kind, a length and a payload.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field

NONCE_BYTES = 16
PHASE, TOLD, ASKED, RETURNED, RAISED, STATUS = b"P", b"T", b"A", b"R", b"E", b"S"
_HEAD = struct.Struct(f"<{NONCE_BYTES}scQ")
_LENGTH = struct.Struct("<Q")


class Malformed(Exception):
    """Bytes from a caged child are not a frame or a reply, or are longer than allowed."""


@dataclass(frozen=True)
class Report:
    """A task's end of the pipes: it reports its phase to the parent, and may ask for a message."""

    descriptor: int
    """File descriptor that frames are written to."""
    nonce: bytes
    inbox: int = -1
    """File descriptor that the parent's message is read from; -1 if there will be no message."""

    def phase(self, name: str) -> None:
        """Report the phase that the task begins; an exceeded limit or a death is reported with it."""
        self.send(PHASE, name.encode())

    def tell(self, text: str) -> None:
        """Tell the parent, which listens, a text while the task goes on."""
        self.send(TOLD, text.encode(errors="replace"))

    def ask(self) -> bytes:
        """Ask the parent for this task's message, wait for it and return it; may be called once.

        Raises:
            EOFError: the parent has no message.
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


def framed(message: bytes) -> bytes:
    """Return what a child that asks is to read from its inbox."""
    return _LENGTH.pack(len(message)) + message


@dataclass
class Frames:
    """Assemble frames from the bytes that were read."""

    nonce: bytes
    """Nonce of the child."""
    limit: int
    """Longest payload in bytes."""
    _pending: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Add bytes and return the frames that they complete, as (kind, payload).

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
