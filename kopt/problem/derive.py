"""Derive the workloads of a problem that is given as a reference alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

from kopt.errors import ProblemError
from kopt.model.kernel import Kernel
from kopt.model.problem import Dtype, Layout, Problem, Workload
from kopt.problem.literals import constants, literals, named
from kopt.problem.sizes import Constants, Sizes, Trial

GIVEN = Workload(name="given")

SMALL = 4096
"""Most elements of a tensor of the small workload `ragged`; of `tiles` four times as many."""

LARGER = (SMALL, 8 * SMALL, 64 * SMALL)
"""Tried in turn, where the reference has tensors that cannot shrink."""

HIDDEN = 1 << 22
"""Most elements of a tensor of the hidden workload."""


def with_workloads(name: str, source: str) -> Problem:
    """Return the problem of a reference: `given` as written, and small, ragged and hidden workloads derived from it.

    Runs the reference on meta tensors, and on the CPU at small sizes: call it in a process of its own.

    Raises:
        ProblemError: the reference does not run, or no small sizes are found.
    """
    from kopt.device.reference import trial  # here, because it imports torch

    whole = _problem(name, named(source, [literal.name for literal in literals(source)]))
    whole = whole.model_copy(update={"dtype": trial.given_dtype(whole)})
    known: dict[tuple[tuple[str, int], ...], Trial | None] = {(): trial.try_sizes(whole, {})}

    def run(sizes: Mapping[str, int]) -> Trial | None:
        key = tuple(sorted(sizes.items()))
        if key not in known:
            known[key] = None
            with suppress(ProblemError):
                known[key] = trial.try_sizes(whole, sizes)
        return known[key]

    values = trial.constant_values(whole, constants(source))
    sizes = Sizes(values | {literal.name: literal.value for literal in literals(source)}, run)
    small = _small(sizes, name, lambda chosen: trial.try_values(whole, chosen))
    hidden = sizes.ragged(HIDDEN, start=4096)
    used = {name for chosen in (*small.values(), hidden or {}) for name in chosen}
    return whole.model_copy(
        update={
            "reference": named(source, used),
            "hidden": (Workload(name="ragged", constants=hidden),) if hidden else (),
            "small": tuple(Workload(name=name, constants=chosen) for name, chosen in small.items()),
            "layout": Layout.ANY,  # as KernelBench compares: values alone
        }
    )


def _small(sizes: Sizes, name: str, run: Callable[[Constants], None]) -> dict[str, Constants]:
    """Return the small workloads, after a run of each on the CPU.

    Raises:
        ProblemError: there are none, or the reference does not run with values.
    """
    for most in LARGER:
        chosen = {"tiles": sizes.small(4 * most), "ragged": sizes.ragged(most)}
        small = {name: found for name, found in chosen.items() if found is not None}
        if len(small) == len(chosen):
            break
    if not small:
        raise ProblemError(
            f"{name}: no sizes were found at which the reference is small enough for kopt's interpreter: "
            "write sizes as module constants, or declare small workloads in problem.yaml"
        )
    for found in small.values():
        run(found)
    return small


def _problem(name: str, source: str) -> Problem:
    return Problem(
        name=name, reference=source, seed=Kernel(source=""), dtype=Dtype.FLOAT32, main=(GIVEN,), small=(GIVEN,)
    )
