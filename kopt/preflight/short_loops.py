"""Tell which large sizes of a problem are short in all of its small workloads, where a loop over them goes round once.

A kernel that adds up wrongly from one tile of a loop to the next is right there, and passes where there is no GPU.
"""

from __future__ import annotations

from collections.abc import Sequence

from kopt.model.problem import Given, Problem
from kopt.problem.sizes.choose import TWO_TILES
from kopt.winner.judged import given_of

MOST_NAMED = 3
"""Most sizes that are named."""


def short_loops(problem: Problem, given: Sequence[Given]) -> str:
    """Name the sizes over which a kernel may loop, and which are two tiles or less in all small workloads.

    The first dimension of the first input, which kernels part among their programs, is named where it is the largest.

    Args:
        problem: the problem.
        given: the arguments in all of its workloads; fewer where an input is inside a list.

    Returns:
        Empty where there are none, or the arguments are not known.
    """
    if len(given) != len((*problem.main, *problem.hidden, *problem.small)):
        return ""
    timed = len(problem.main)
    found: dict[tuple[int, ...], str] = {}
    judged = given_of(given, problem, "interpret")
    for several in zip(*(one.arguments for one in judged), strict=False):
        for dimension, column in enumerate(zip(*(one.shape for one in several), strict=False)):
            found.setdefault(column, f"{several[0].name}.shape[{dimension}]")
    lengths = {label: (max(column[:timed]), max(column[timed:])) for column, label in found.items()}
    largest = max((own for own, _ in lengths.values()), default=0)
    first = f"{judged[0].arguments[0].name}.shape[0]" if judged[0].arguments else ""
    short = [
        (-own, label, small)
        for label, (own, small) in lengths.items()
        if small < min(TWO_TILES, own) and own >= TWO_TILES and (label != first or own == largest)
    ]
    if not short:
        return ""
    named = ", ".join(f"{label} ({small} of {-own})" for own, label, small in sorted(short)[:MOST_NAMED])
    return (
        f"short in all small workloads: {named}; without a GPU, a kernel that goes wrong from one tile of a loop "
        f"to the next can pass: add one under small in problem.yaml in which such a size alone is {TWO_TILES} or more"
    )
