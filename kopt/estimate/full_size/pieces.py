"""Compute with pieces of memory: spread them over programs and iterations, join them, count their distinct bytes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kopt.estimate.arithmetic import Lanes

MOST_LISTED = 1_000_000
"""Pieces that are added to a union of fewer before they are merged with it."""
MOST_PIECES = 2_000_000
"""Pieces of memory that are listed one by one; beyond, a progression counts as all that lies between its ends."""


class Pieces(NamedTuple):
    """Pieces of one tensor, in bytes from the tensor's pointer."""

    starts: Lanes
    ends: Lanes

    def size(self) -> int:
        """Return the bytes of pieces that do not overlap."""
        return int((self.ends - self.starts).sum())

    def moved(self, by: int) -> Pieces:
        """Return the pieces at another distance."""
        return Pieces(self.starts + by, self.ends + by)


class Found(NamedTuple):
    """Pieces that a launch accesses."""

    pieces: Pieces
    growth: float = 1.0
    """Bytes of all programs over those of the programs that were followed."""

    def moved(self, by: int) -> Found:
        """Return the pieces at another distance."""
        return Found(self.pieces.moved(by), self.growth)


class Union:
    """Pieces that are added one list after the other, and merged whenever they have become many."""

    def __init__(self, listed: int = MOST_LISTED) -> None:
        """Begin with none.

        Args:
            listed: pieces that are added before they are merged, at least.
        """
        self._pieces: list[Pieces] = []
        self._added, self._listed, self._most = 0, listed, listed

    def add(self, pieces: Pieces) -> None:
        """Add pieces."""
        self._pieces.append(pieces)
        self._added += len(pieces.starts)
        if self._added > self._most:
            self._most = max(self._listed, len(self.merged().starts))

    def merged(self) -> Pieces:
        """Return all that was added, merged."""
        self._pieces, self._added = [merged(joined(self._pieces))], 0
        return self._pieces[0]


def one_piece(start: int, length: int) -> Pieces:
    """Return the piece of `length` bytes that begins at `start`."""
    return Pieces(np.array([start], dtype=np.int64), np.array([start + length], dtype=np.int64))


def spread(anchors: Lanes, steps: Lanes | None, counts: Lanes | None, tile: Pieces) -> Iterator[Pieces]:
    """Yield the pieces of all programs: the tile at every anchor, and at every step of a progression.

    Args:
        anchors: address of each program.
        steps: distance between the iterations of a progression, by program; None for one iteration.
        counts: iterations, by program.
        tile: pieces of a program, from its address.
    """
    first, last = _stretches(anchors, steps, counts, tile)
    at_once = max(MOST_LISTED // len(tile.starts), 1)
    for at in range(0, len(first), at_once):
        low, high = first[at : at + at_once, None], last[at : at + at_once, None]
        yield Pieces((low + tile.starts).ravel(), (high + tile.ends).ravel())


def _stretches(anchors: Lanes, steps: Lanes | None, counts: Lanes | None, tile: Pieces) -> tuple[Lanes, Lanes]:
    """Return the first and the last address of each stretch over which a tile moves without a gap."""
    if steps is None or counts is None:
        anchors = distinct(anchors)
        return anchors, anchors
    anchors, steps, counts = _distinct_columns(np.stack([anchors, steps, counts]))
    dense = np.abs(steps) <= int((tile.ends - tile.starts).min())
    if dense.all() or int(counts.sum()) * len(tile.starts) > MOST_PIECES:
        ends = anchors + steps * (counts - 1)
        return np.minimum(anchors, ends), np.maximum(anchors, ends)
    places = np.repeat(anchors, counts)
    turns = np.arange(len(places)) - np.repeat(np.cumsum(counts) - counts, counts)
    places = distinct(places + turns * np.repeat(steps, counts))
    return places, places


def distinct(values: Lanes) -> Lanes:
    """Return the sorted distinct values; by sorting, which is faster here than numpy's way by hashes."""
    ordered = np.sort(values, axis=None)
    return ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])] if len(ordered) else ordered


def _distinct_columns(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the sorted distinct columns."""
    ordered = rows[:, np.lexsort(rows[::-1])]
    different = (ordered[:, 1:] != ordered[:, :-1]).any(axis=0)
    return ordered[:, np.concatenate([[True], different])]


def merged(pieces: Pieces) -> Pieces:
    """Return the same bytes in pieces that neither touch nor overlap, in order."""
    order = np.argsort(pieces.starts, kind="stable")
    starts, ends = pieces.starts[order], np.maximum.accumulate(pieces.ends[order])
    begins = np.concatenate([[True], starts[1:] > ends[:-1]])
    last = np.concatenate([begins[1:], [True]])
    return Pieces(starts[begins], ends[last])


def joined(pieces: list[Pieces]) -> Pieces:
    """Return all pieces of several lists, as they are."""
    return Pieces(np.concatenate([one.starts for one in pieces]), np.concatenate([one.ends for one in pieces]))


def distinct_bytes(found: list[Found], size: float | None) -> float:
    """Return the distinct bytes of pieces inside a memory of `size` bytes."""
    if not found:
        return 0.0
    total = float(_length(merged(joined([one.pieces for one in found])), size))
    total *= max(one.growth for one in found)
    return min(total, size) if size is not None else total


def _length(pieces: Pieces, size: float | None) -> int:
    """Return the bytes of merged pieces that lie inside a memory of `size` bytes."""
    starts, ends = np.maximum(pieces.starts, 0), pieces.ends
    if size is not None:
        ends = np.minimum(ends, int(size))
    return int(np.maximum(ends - starts, 0).sum())


def growth(differing: int, every: int, sampled: float) -> float:
    """Return the bytes of all programs over those of a random sample of them.

    Where each byte belongs to `r` programs, a sample of a share `f` finds `1 - (1 - f)^r` of the bytes, `f r` times.

    Args:
        differing: places of the sampled programs that differ.
        every: sampled programs.
        sampled: share of the programs that were sampled.
    """
    low, high = 1.0, 1e9
    for _ in range(60):
        middle = math.sqrt(low * high)
        share = -math.expm1(middle * math.log1p(-sampled)) / (sampled * middle)
        low, high = (middle, high) if share > differing / every else (low, middle)
    return 1.0 / -math.expm1(low * math.log1p(-sampled))
