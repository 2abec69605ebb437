"""Numbers as people read them.  A time never goes without the word that says whether it was estimated."""

from __future__ import annotations

ESTIMATED = "estimated"


def milliseconds(ms: float) -> str:
    """Time with its unit: four decimals as in a log, or three significant digits when it is very short."""
    return f"{ms:.4f} ms" if ms >= 0.01 else f"{ms:.3g} ms"


def time_text(ms: float, estimated: bool) -> str:
    """Time with its unit, labelled when it is an estimate: `1.8753 ms estimated`."""
    return f"{milliseconds(ms)} {ESTIMATED}" if estimated else milliseconds(ms)


def ratio(value: float) -> str:
    """A speedup: `1.10x`."""
    return f"{value:.2f}x"


def percent(share: float) -> str:
    """A share of one as whole percent; never rounded up to 100 %."""
    return f"{min(round(100 * share), 99) if share < 1 else 100} %"


def printable(text: str) -> str:
    """One line of text without control characters: what a model wrote must not steer a terminal."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())
