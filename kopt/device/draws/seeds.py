"""Derive seeds from what they are for."""

from __future__ import annotations

import hashlib


def derive_seed(*parts: object) -> int:
    """Return a seed below 2^63 that follows from the parts, e.g. the run's seed, the kernel's digest and a position."""
    text = "\x00".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
