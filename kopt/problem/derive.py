"""Derive the workloads of a problem that is given as a reference alone."""

from __future__ import annotations

from collections.abc import Mapping

from kopt.device.reference import trial
from kopt.errors import ProblemError
from kopt.model.kernel import Kernel
from kopt.model.problem import Dtype, Problem, Workload
from kopt.problem.literals import constants, literals, named
from kopt.problem.sizes import Constants, Sizes

GIVEN = Workload(name="given")

SMALL = 4096
"""Most elements of a tensor of a small workload."""

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
    whole = _problem(name, named(source, [literal.name for literal in literals(source)]))
    dtype = trial.given_dtype(whole)
    whole = whole.model_copy(update={"dtype": dtype})
    known: dict[tuple[tuple[str, int], ...], trial.Trial | None] = {}

    def run(sizes: Mapping[str, int]) -> trial.Trial | None:
        key = tuple(sorted(sizes.items()))
        if key not in known:
            known[key] = _tried(whole, sizes)
        return known[key]

    trial.try_sizes(whole, {})  # raises what is wrong
    sizes = Sizes(_values(whole, source), run)
    small = _small(whole, sizes)
    hidden = sizes.ragged(HIDDEN, start=4096)
    used = {name for chosen in (*small.values(), hidden or {}) for name in chosen}
    return Problem(
        name=name,
        reference=named(source, used),
        seed=Kernel(source=""),
        dtype=dtype,
        main=(GIVEN,),
        hidden=(Workload(name="ragged", constants=hidden),) if hidden else (),
        small=tuple(Workload(name=name, constants=chosen) for name, chosen in small.items()),
    )


def _small(problem: Problem, sizes: Sizes) -> dict[str, Constants]:
    """Return the small workloads, those that the CPU can run with values.

    Raises:
        ProblemError: there are none.
    """
    for most in LARGER:
        chosen = {"tiles": sizes.small(4 * most), "ragged": sizes.ragged(most)}
        small = {name: found for name, found in chosen.items() if found is not None}
        if len(small) == len(chosen):
            break
    else:
        if not small:
            raise ProblemError(
                f"{problem.name}: no sizes were found at which the reference is small enough for Triton's interpreter: "
                "write sizes as module constants, or declare small workloads in problem.yaml"
            )
    for sizes_of_workload in small.values():
        trial.try_values(problem, sizes_of_workload)
    return small


def _tried(problem: Problem, sizes: Mapping[str, int]) -> trial.Trial | None:
    try:
        return trial.try_sizes(problem, sizes)
    except ProblemError:
        return None


def _values(problem: Problem, source: str) -> dict[str, int]:
    """Return the constants that may be sizes, with the values that the reference gives them."""
    own = trial.constant_values(problem, constants(source))
    return own | {literal.name: literal.value for literal in literals(source)}


def _problem(name: str, source: str) -> Problem:
    return Problem(
        name=name, reference=source, seed=Kernel(source=""), dtype=Dtype.FLOAT32, main=(GIVEN,), small=(GIVEN,)
    )
