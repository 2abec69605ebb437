"""Say in one sentence how the best kernel stands against PyTorch's fastest way, a loss as plainly as a win."""

from __future__ import annotations

from typing import Literal, NamedTuple

from kopt.report.numbers import PYTORCH, milliseconds, ratio
from kopt.report.record import FinalFigures


class AgainstPytorch(NamedTuple):
    """How the best kernel stands against the fastest of PyTorch's ways that was timed."""

    result: Literal["win", "loss", "tie"]
    """A tie where the interval of the speedup holds 1, or times that are written alike."""
    text: str


def against_pytorch(final: FinalFigures) -> AgainstPytorch | None:
    """Compare the best kernel with PyTorch's fastest way; None where none was timed."""
    measured = [one for one in final.against if one.name != "seed"]
    if measured:
        fastest = min(measured, key=lambda one: one.ms)
        result: Literal["win", "loss", "tie"] = "win" if fastest.low > 1 else "loss" if fastest.high < 1 else "tie"
        name, ms, speedup = fastest.name, fastest.ms, fastest.speedup
        interval = f", 95 % interval {fastest.low:.3f} to {fastest.high:.3f}"
    else:
        timed = (("eager", final.eager_ms), ("compile", final.compile_ms))
        known = sorted((ms, name) for name, ms in timed if ms is not None)
        if not known:
            return None
        ms, name = known[0]
        speedup, interval = ms / final.best_ms, ""
        result = "tie" if ratio(speedup) == "1.00x" else "win" if speedup > 1 else "loss"
    words = {"win": "Faster than", "loss": "Slower than", "tie": "As fast as"}[result]
    noise = " within the noise of the measurement" if result == "tie" and measured else ""
    estimate = "by the estimate, " if final.estimated else ""
    ways = ", the fastest of PyTorch's ways that were timed" if len(measured) > 1 else ""
    text = f"{words} {PYTORCH.get(name, name)}{ways}{noise}: {estimate}{ratio(speedup)} ({milliseconds(ms)}{interval})."
    return AgainstPytorch(result, text)
