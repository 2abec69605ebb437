"""Derive what a draft leaves open: the dtype, and workloads from the sizes that its reference takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

from kopt.errors import ProblemError
from kopt.model.base import Value
from kopt.model.kernel import Kernel
from kopt.model.problem import Dtype, Problem, Workload
from kopt.model.signature import Signature
from kopt.problem.draft import GIVEN, Draft
from kopt.problem.literals import constants, literals, named
from kopt.problem.model_new import has_model_new, with_entry
from kopt.problem.sizes import Constants, Sizes, Try

SMALL = 4096
"""Most elements of a tensor of the small workload `ragged`; of `tiles` four times as many."""

LARGER = (SMALL, 8 * SMALL, 64 * SMALL)
"""Tried in turn, where the reference has tensors that cannot shrink."""

HIDDEN = 1 << 22
"""Most elements of a tensor of the hidden workload."""


class Derived(Value):
    """A draft's problem, and what was understood of it."""

    problem: Problem
    signature: Signature
    """Inputs, parameters and outputs of the first main workload."""
    together: tuple[tuple[str, ...], ...] = ()
    """Constants that can change together only."""
    notes: tuple[str, ...] = ()
    """The draft's notes."""


def with_workloads(name: str, source: str) -> Problem:
    """Return the problem of a reference alone, as `derived` does."""
    return derived(Draft(name=name, reference=source)).problem


def derived(draft: Draft) -> Derived:
    """Complete a draft: its dtype, and small, ragged and hidden workloads.

    Runs the reference on meta tensors, and on the CPU at small sizes: call it in the cage (`kopt.problem.caged`).

    Raises:
        ProblemError: the reference does not run, or no small sizes are found.
    """
    from kopt.device.reference.file_name import naming  # here, because it imports torch

    with naming(draft.file):
        return _derived(draft)


def _derived(draft: Draft) -> Derived:
    from kopt.device.reference import trial
    from kopt.device.reference.signature import signature_of

    known_literals = literals(draft.reference)
    used = {name for workload in _declared(draft) for name in workload.constants}
    whole = _problem(draft, named(draft.reference, [literal.name for literal in known_literals]))
    whole = whole.model_copy(update={"dtype": draft.dtype or trial.given_dtype(whole)})
    together: tuple[tuple[str, ...], ...] = ()
    if draft.small is None or draft.hidden is None:
        values = trial.constant_values(whole, constants(draft.reference))
        sizes = _sizes(whole, values | {literal.name: literal.value for literal in known_literals})
        together = tuple(size.names for size in sizes.sizes)
        if draft.small is None:
            small = _small(sizes, draft.name, lambda chosen: trial.try_values(whole, chosen))
            whole = whole.model_copy(update={"small": tuple(Workload(name=n, constants=c) for n, c in small.items())})
        if draft.hidden is None:
            hidden = sizes.ragged(HIDDEN, start=4096)
            whole = whole.model_copy(update={"hidden": (Workload(name="ragged", constants=hidden),) if hidden else ()})
    used |= {name for workload in (*whole.small, *whole.hidden) for name in workload.constants}
    problem = whole.model_copy(update={"reference": named(draft.reference, used)})
    signature = signature_of(problem, problem.main[0])
    if draft.seed and has_model_new(draft.seed):
        seed = Kernel(source=with_entry(draft.seed, problem.reference, signature, draft.name))
        problem = problem.model_copy(update={"seed": seed})
    return Derived(problem=problem, signature=signature, together=together, notes=draft.notes)


def _declared(draft: Draft) -> tuple[Workload, ...]:
    return (*draft.main, *(draft.hidden or ()), *(draft.small or ()))


def _runs(whole: Problem) -> Try:
    """Return what runs the reference on meta tensors with other sizes, each choice of sizes once.

    Raises:
        ProblemError: the reference does not run with its own sizes.
    """
    from kopt.device.reference import trial

    known: dict[tuple[tuple[str, int], ...], trial.Trial | None] = {(): trial.try_sizes(whole, {})}

    def run(sizes: Mapping[str, int]) -> trial.Trial | None:
        key = tuple(sorted(sizes.items()))
        if key not in known:
            known[key] = None
            with suppress(ProblemError):
                known[key] = trial.try_sizes(whole, sizes)
        return known[key]

    return run


def _sizes(whole: Problem, constants: Mapping[str, int]) -> Sizes:
    """Return the sizes of inputs and parameters; those of results, too, where only these make the reference small."""
    from kopt.device.reference import trial

    run = _runs(whole)
    sizes = Sizes(constants, run)
    if sizes.small(4 * SMALL) is None:
        wider = Sizes(constants, run, results=True)
        chosen = wider.small(4 * SMALL)
        with suppress(ProblemError):  # an index may be too large for the results that shrink
            if chosen is not None:
                trial.try_values(whole, chosen)
                return wider
    return sizes


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
        try:
            run(found)
        except ProblemError as error:
            values = ", ".join(f"{constant} = {value}" for constant, value in found.items())
            raise ProblemError(f"{name}: with the small sizes {values or 'as given'}, {error}") from error
    return small


def _problem(draft: Draft, source: str) -> Problem:
    return Problem(
        name=draft.name, reference=source, seed=Kernel(source=draft.seed), dtype=draft.dtype or Dtype.FLOAT32,
        main=draft.main, hidden=draft.hidden or (), small=draft.small or (GIVEN,), tolerance=draft.tolerance,
        mutates=draft.mutates, inputs=draft.inputs, layout=draft.layout, floor=draft.floor, weights=draft.weights,
    )  # fmt: skip
