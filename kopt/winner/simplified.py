"""Keep what the judge said of a simplified kernel, so that it can be exported like the run's best kernel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kopt.artifact import digest, read_value, text_digest, write_value
from kopt.errors import ConfigError
from kopt.model.base import Value
from kopt.model.problem import Problem
from kopt.report.record import FinalFigures
from kopt.winner.standalone import standalone
from kopt.winner.tuning import have_same_autotuners
from kopt.winner.winner import Winner

FOLDER = "simplified"
"""Folder of a run's folder that keeps a file for each kernel that was simplified."""


class SimplifiedKernel(Value):
    """A kernel that was simplified and judged right: what differs from the run's best kernel."""

    name: str
    source: str
    steps: tuple[tuple[str, str], ...]
    """As of `Winner`; foreign text."""
    judge: str
    """Name of the judge (`interpret`, `cuda`)."""
    checks: int | None
    figures: FinalFigures
    device: str
    """Device that the times are of."""
    problem: str
    """Digest of the problem for which it was judged."""


def problem_digest(problem: Problem) -> str:
    """Return the digest of all of a problem but its seed kernel."""
    return digest(problem.model_dump(mode="json", exclude={"seed"}))


def as_winner(best: Winner, kernel: SimplifiedKernel) -> Winner:
    """Describe a simplified kernel of the run whose best kernel is given.

    Raises:
        ConfigError: the run is of another problem by now, as after an edit of problem.py.
    """
    if kernel.problem != problem_digest(best.problem):
        raise ConfigError(
            f"{kernel.name} was judged for another problem than {best.problem.name} is now, which was edited since: "
            "kopt simplify RUN judges and writes one anew"
        )
    return replace(
        best, source=kernel.source, name=kernel.name, steps=kernel.steps, judge=kernel.judge, checks=kernel.checks,
        figures=kernel.figures, device=kernel.device,
        choices=best.choices if have_same_autotuners(kernel.source, best.source) else (),
    )  # fmt: skip


def keep(best: Winner, kernel: SimplifiedKernel, run: Path) -> str:
    """Keep a kernel in the run's folder, and return the text of its module, by which `kept` finds it."""
    text = standalone(as_winner(best, kernel))
    write_value(_place(text, run), kernel)
    return text


def kept(text: str, run: Path) -> SimplifiedKernel | None:
    """Return the kernel whose module has a text; None where the run has none, or the text was changed since."""
    place = _place(text, run)
    return read_value(place, SimplifiedKernel) if place.is_file() else None


def _place(text: str, run: Path) -> Path:
    return run / FOLDER / f"{text_digest(text)}.json"
