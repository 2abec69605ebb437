"""Define a contestant's reply, which claims and proves nothing: its reports of draws, and its recorded calls."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from kopt.device.cuda.contestant.run_draw import DrawReport
from kopt.device.cuda.recording.program import RecordedCall
from kopt.model.base import Value
from kopt.sandbox.reply import check_digests, pack, unpack


class Reply(Value):
    """A contestant's reply, beside its cubins."""

    reports: tuple[DrawReport, ...] = ()
    """Reports of the draws that were run, one each."""
    programs: tuple[RecordedCall, ...] = ()
    """Recorded calls of the main workloads, one each."""
    phase: str = ""
    """Phase in which the contestant failed outside a draw; empty when it did not."""
    reason: str = ""
    seconds: tuple[tuple[str, float], ...] = ()
    """Duration of each phase, s."""
    addresses: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    """Addresses of the storages of the argument tensors, by workload."""


def packed(reply: Reply, binaries: Mapping[str, bytes]) -> bytes:
    """Pack a reply with those cubins, by digest, that its programs launch."""
    wanted = sorted({name for program in reply.programs for name in program.binaries})
    return pack(reply, {name: binaries[name] for name in wanted})


def read_reply(data: bytes) -> tuple[Reply, dict[str, bytes]]:
    """Read a contestant's reply and its cubins, by digest.

    Raises:
        Malformed: the reply cannot be parsed, or a cubin's digest differs from its name.
    """
    reply, binaries = unpack(data, Reply)
    check_digests(binaries)
    return reply, binaries
