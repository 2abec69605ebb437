"""Write numbers for people.  A time that was estimated always carries the word `estimated`."""

from __future__ import annotations

from collections.abc import Sequence

from kopt.model.verdict import Check

ESTIMATED = "estimated"


def milliseconds(ms: float) -> str:
    """Write a time with its unit: four decimals, or three significant digits below 0.01 ms."""
    return f"{ms:.4f} ms" if ms >= 0.01 else f"{ms:.3g} ms"


def time_text(ms: float, estimated: bool) -> str:
    """Write a time with its unit, labelled when it is an estimate: `1.8753 ms estimated`."""
    return f"{milliseconds(ms)} {ESTIMATED}" if estimated else milliseconds(ms)


def ratio(value: float) -> str:
    """Write a speedup: `1.10x`."""
    return f"{value:.2f}x"


def percent(share: float) -> str:
    """Write a share of one as whole percent; a share below one is never rounded up to 100 %."""
    return f"{min(round(100 * share), 99) if share < 1 else 100} %"


def compilations_text(ms: Sequence[float]) -> str:
    """Write the spread of several compilations: `2 compilations: 0.1352 to 0.2024 ms`; empty for fewer than two."""
    if len(ms) < 2:
        return ""
    return f"{len(ms)} compilations: {min(ms):.4f} to {milliseconds(max(ms))}"


def closeness(checks: Sequence[Check]) -> str:
    """Say how near to the reference a kernel's results are: `at most 40% of the allowed error`.

    Errors and limits of integers are whole numbers: a share of such a limit says nothing.
    """
    shares = [check.max_error / check.allowed for check in checks if check.allowed and not _is_whole(check)]
    whole = max((check.max_error for check in checks if _is_whole(check)), default=0.0)
    parts = [f"at most {max(shares):.0%} of the allowed error"] if shares else []
    parts += [f"integers off by at most {whole:g}, where rounding decides them"] if whole else []
    return ", ".join(parts) or "equal to the reference"


def _is_whole(check: Check) -> bool:
    return check.max_error.is_integer() and check.allowed.is_integer()


PYTORCH = {"eager": "PyTorch eager", "compile": "torch.compile", "max-autotune": "torch.compile (max-autotune)"}
"""Names of the baselines for people."""


def slower_text(best_ms: float, faster: Sequence[tuple[str, float]], estimated: bool) -> str:
    """Say that PyTorch is faster than the best kernel: `slower than PyTorch eager (0.0252 ms, 0.62x)`; empty if not.

    Args:
        best_ms: time of the best kernel, ms.
        faster: names and times of the baselines that beat it, fastest first.
        estimated: whether the times are estimates.
    """
    named = (f"{PYTORCH.get(name, name)} ({time_text(ms, estimated)}, {ratio(ms / best_ms)})" for name, ms in faster)
    return f"slower than {' and '.join(named)}" if faster else ""
