"""Exchange values with a trusted process of one's own, each within a limit: neither side can hold the other up."""

from __future__ import annotations

import pickle
import socket
import struct
import time
from multiprocessing.reduction import ForkingPickler
from typing import Any  # values of any type that can be pickled

_LENGTH = struct.Struct("!Q")
PART_BYTES = 1 << 20
"""Most bytes of one read."""


class Exchange:
    """One of two ends."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    @classmethod
    def pair(cls) -> tuple[Exchange, Exchange]:
        """Make both ends."""
        one, other = socket.socketpair()
        return cls(one), cls(other)

    def send(self, value: object, seconds: float | None = None) -> None:
        """Send a value.

        Args:
            value: sent as `multiprocessing` would.
            seconds: limit; None: as long as it takes.

        Raises:
            TimeoutError: the other side has not taken it in time; the exchange is of no use any more.
            OSError: the other side has gone.
        """
        body = ForkingPickler.dumps(value)
        until = None if seconds is None else time.monotonic() + seconds
        for part in (_LENGTH.pack(len(body)), body):
            self._end.settimeout(_left(until))
            self._end.sendall(part)

    def receive(self, seconds: float | None = None) -> Any:
        """Receive a value.

        Args:
            seconds: limit; None: as long as it takes.

        Raises:
            TimeoutError: it has not come as a whole in time; the exchange is of no use any more.
            EOFError, OSError: the other side has gone.
        """
        until = None if seconds is None else time.monotonic() + seconds
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size, until))
        return pickle.loads(self._exactly(length, until))

    def close(self) -> None:
        """Close this end, which the other side sees."""
        self._end.close()

    def _exactly(self, length: int, until: float | None) -> bytearray:
        data = bytearray()
        while len(data) < length:
            self._end.settimeout(_left(until))
            part = self._end.recv(min(length - len(data), PART_BYTES))
            if not part:
                raise EOFError
            data += part
        return data


def _left(until: float | None) -> float | None:
    """Return the time that is left, s.

    Raises:
        TimeoutError: none is.
    """
    if until is None:
        return None
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
