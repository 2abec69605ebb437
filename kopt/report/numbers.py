"""Write numbers for people.  A time that was estimated always carries the word `estimated`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kopt.model.verdict import Check

ESTIMATED = "estimated"

ESTIMATE_ERROR = 0.1
"""Share by which an estimate is commonly off (docs/estimate.md): two estimates nearer than that are not told apart."""

WITHIN_ERROR = "within the error of estimates"
WITHIN_NOISE = "within the noise of the measurement"


class Time(NamedTuple):
    """The time of a kernel, ms, with the ends of its 95 % interval where it has one."""

    ms: float
    low_ms: float | None
    high_ms: float | None
    estimated: bool

    @property
    def interval(self) -> tuple[float, float]:
        """The ends of the interval, ms; the time itself where it has none."""
        return (self.ms, self.ms) if self.low_ms is None or self.high_ms is None else (self.low_ms, self.high_ms)


def is_within_error(speedup: float) -> bool:
    """Return whether two estimates of this ratio are nearer to each other than their error."""
    return 1 - ESTIMATE_ERROR < speedup < 1 / (1 - ESTIMATE_ERROR)


def unsure(one: Time, other: Time) -> str:
    """Say why it cannot be told which of two kernels of a search is faster; empty where it can.

    Estimates have to differ by more than their error; intervals of measured times must not overlap, and measured times
    without intervals have to differ.
    """
    if one.estimated or other.estimated:
        return WITHIN_ERROR if is_within_error(one.ms / other.ms) else ""
    (low, high), (other_low, other_high) = one.interval, other.interval
    return WITHIN_NOISE if low <= other_high and other_low <= high else ""


def milliseconds(ms: float) -> str:
    """Write a time with its unit: four decimals, or three significant digits below 0.01 ms."""
    return f"{ms:.4f} ms" if ms >= 0.01 else f"{ms:.3g} ms"


def time_text(ms: float, estimated: bool) -> str:
    """Write a time with its unit, labelled when it is an estimate: `1.8753 ms estimated`."""
    return f"{milliseconds(ms)} {ESTIMATED}" if estimated else milliseconds(ms)


def ratio(value: float) -> str:
    """Write a speedup: `1.10x`."""
    return f"{value:.2f}x"


def speedup_text(speedup: float, over: str, estimated: bool) -> str:
    """Write a speedup over something, with its label: `1.03x seed estimated, within the error of estimates`.

    Args:
        speedup: 1 for a kernel over itself.
        over: what the speedup is over; empty where that stands before it.
        estimated: whether it is a ratio of estimates.
    """
    near = estimated and speedup != 1 and is_within_error(speedup)
    words = filter(None, (ratio(speedup), over, ESTIMATED if estimated else ""))
    return " ".join(words) + (f", {WITHIN_ERROR}" if near else "")


def percent(share: float) -> str:
    """Write a share of one as whole percent, of less than one percent as one digit: `0.3 %`.

    A share below one is never rounded up to 100 %, nor one above zero down to 0 %.
    """
    if 0 < share < 0.01:
        return f"{float(f'{100 * share:.1g}'):g} %"
    return f"{min(round(100 * share), 99) if share < 1 else 100} %"


def after_repair(number: int) -> str:
    """Say how many correct kernels are repairs of a failed one: `2 after a repair`; empty for none."""
    return f"{number} after a repair" if number else ""


def ordinal(number: int) -> str:
    """Write a place in an order: `1st`, `2nd`, `11th`."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def compilations_text(ms: Sequence[float]) -> str:
    """Write the spread of several compilations: `2 compilations: 0.1352 to 0.2024 ms`; empty for fewer than two."""
    if len(ms) < 2:
        return ""
    return f"{len(ms)} compilations: {min(ms):.4f} to {milliseconds(max(ms))}"


MOST_OFF = 1_000_000
"""Largest error of an integer that is written out."""


def closeness(checks: Sequence[Check]) -> str:
    """Say how near to the reference a kernel's results are: `at most 40% of the allowed error`.

    Errors and limits of integers are whole numbers: a share of such a limit says nothing.
    """
    shares = [check.max_error / check.allowed for check in checks if check.allowed and not check.integers]
    parts = [f"at most {max(shares):.0%} of the allowed error"] if shares else []
    if any(check.max_error and not check.allowed and not check.integers for check in checks):
        parts.append("off where no error is allowed")
    whole = [check for check in checks if check.integers]
    open_ = max((check.max_error for check in whole if check.max_error <= check.allowed), default=0.0)
    if open_:
        parts.append(f"integers equal save where rounding decides them, there off by {_off(open_)} at most")
    wrong = max((c for c in whole if c.max_error > c.allowed), key=lambda c: c.max_error - c.allowed, default=None)
    if wrong is not None:
        allowed = f"rounding allows {_off(wrong.allowed)}" if wrong.allowed else "none may be off"
        parts.append(f"integers off by {_off(wrong.max_error)} where {allowed}")
    return ", ".join(parts) or "equal to the reference"


def _off(error: float) -> str:
    return f"{error:.0f}" if error <= MOST_OFF else "more than a million"


PYTORCH = {"eager": "PyTorch eager", "compile": "torch.compile", "max-autotune": "torch.compile (max-autotune)"}
"""Names of the baselines for people."""


FAR = 0.05
"""Share of the roofline below which a kernel counts as far from it."""

SMALL_MS = 0.05
"""Time up to which a kernel may be far from its roofline since launches and waiting for memory take that long, ms."""


def far_text(best_ms: float, share: float, ample_ms: float) -> str:
    """Say that the best kernel is hopelessly far from the hardware's limit, and what to try; empty where it is not.

    Small kernels are left out: their time is that of a launch, whatever they compute.  So are kernels near what the
    reference moves or computes, where the floor is known to be less only because a kernel need not read all.

    Args:
        best_ms: time of the best kernel, ms.
        share: its share of the roofline, 0 to 1.
        ample_ms: time to move all tensors once, or to do the reference's arithmetic, ms; 0 where it is not known.
    """
    if share >= FAR or best_ms <= SMALL_MS or ample_ms >= FAR * best_ms:
        return ""
    return (
        f"far from the hardware's limit: {percent(share)} of the roofline, which is {milliseconds(share * best_ms)}; "
        "`kopt show RUN best` tells its launches, bytes and bottleneck; start from a kernel of another plan "
        "(kernel.py, or kopt new --kernel FILE), let a language model propose (models), or search more rounds"
    )


def slower_text(best_ms: float, faster: Sequence[tuple[str, float]], estimated: bool) -> str:
    """Say that PyTorch is faster than the best kernel: `slower than PyTorch eager (0.0252 ms, 0.62x)`; empty if not.

    Args:
        best_ms: time of the best kernel, ms.
        faster: names and times of the baselines that beat it, fastest first.
        estimated: whether the times are estimates.
    """
    named = (f"{PYTORCH.get(name, name)} ({time_text(ms, estimated)}, {ratio(ms / best_ms)})" for name, ms in faster)
    return f"slower than {' and '.join(named)}" if faster else ""
