"""Carry a request with its descriptors, and single answers, over a socket between a client and its keeper.

The right to run a job is one byte in a pipe that the client makes and sends along.  Client and fork may both try to
take it at any time, and one of them gets it: so a job runs once, whatever becomes of the other side.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
from dataclasses import asdict, dataclass

READY, STALE = b"r", b"s"
"""Answers to a connection: a fork waits for the request; the parent's code is old."""
DESCRIPTORS = 6
"""Descriptors of a request: stdin, stdout, stderr, the working directory, the lock's file, opened to write, and the
right to run the job."""
_LENGTH = struct.Struct("!Q")
_STATUS = struct.Struct("!i")
_CREDENTIALS = struct.Struct("3i")


@dataclass(frozen=True)
class Request:
    """Everything that a job takes over from its client, beside descriptors."""

    words: list[str]
    """Words of the job's command line, from the script on."""
    command: list[str]
    """The client's whole command line."""
    environ: dict[str, str]
    umask: int
    ignored: list[int]
    """Numbers of the signals that the client ignores."""
    blocked: list[int]
    """Numbers of the signals that the client blocks."""


def make_right() -> int:
    """Make the right to run a job; return its descriptor."""
    right, given = os.pipe()
    os.write(given, b"j")
    os.close(given)
    return right


def take_right(right: int) -> bool:
    """Take the right to run a job; return whether nobody had taken it before."""
    return bool(os.read(right, 1))


def comes(connection: socket.socket, seconds: float) -> bool:
    """Wait for an answer, or for the end of the connection; return whether one has come in time."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def peer(connection: socket.socket) -> tuple[int, int]:
    """Return the process and the user at the other end of a socket."""
    pid, user, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return pid, user


def send_request(connection: socket.socket, request: Request, descriptors: list[int]) -> None:
    """Send a request with its descriptors."""
    body = json.dumps(asdict(request)).encode()
    socket.send_fds(connection, [_LENGTH.pack(len(body))], descriptors)
    connection.sendall(body)


def receive_request(connection: socket.socket) -> tuple[Request, list[int]]:
    """Receive a request and its descriptors.

    Raises:
        EOFError, OSError: the client has gone, or has sent something else.
        ValueError, TypeError: the client has sent something else.
    """
    head, descriptors, _, _ = socket.recv_fds(connection, _LENGTH.size, DESCRIPTORS)
    if len(head) != _LENGTH.size or len(descriptors) != DESCRIPTORS:
        raise EOFError
    return Request(**json.loads(_exactly(connection, *_LENGTH.unpack(head)))), descriptors


def send_status(connection: socket.socket, status: int) -> None:
    """Send how a job ended: its exit status, or minus its signal."""
    connection.sendall(_STATUS.pack(status))


def receive_status(connection: socket.socket) -> int:
    """Receive how a job ended.

    Raises:
        EOFError, OSError: the keeper has gone.
    """
    (status,) = _STATUS.unpack(_exactly(connection, _STATUS.size))
    assert isinstance(status, int)
    return status


def _exactly(connection: socket.socket, length: int) -> bytes:
    parts: list[bytes] = []
    while length:
        part = connection.recv(min(length, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def close_all_but(kept: set[int]) -> None:
    """Close every descriptor of this process but stdin, stdout, stderr and those in `kept`."""
    most = max((int(name) for name in os.listdir("/proc/self/fd")), default=2) + 1
    first = 3
    for descriptor in sorted(kept):
        os.closerange(first, descriptor)
        first = max(first, descriptor + 1)
    os.closerange(first, most)
