"""Derive what a draft leaves open: the dtype, and workloads from the sizes that its reference takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import combinations, product

from kopt.errors import ProblemError
from kopt.model.base import Value
from kopt.model.kernel import Kernel
from kopt.model.problem import Dtype, Given, Problem, Workload
from kopt.model.signature import Signature
from kopt.problem.draft import GIVEN, Draft
from kopt.problem.literals import constants, literals, named
from kopt.problem.model_new import has_model_new, with_entry
from kopt.problem.sizes.choose import RESTS, Sizes
from kopt.problem.sizes.size import Constants
from kopt.problem.sizes.tried import Try
from kopt.problem.ties import equal_groups, parted

SMALL = 4096
"""Most elements of a tensor of the small workload `ragged`; of `tiles` four times as many."""

LARGER = (SMALL, 8 * SMALL, 64 * SMALL)
"""Tried in turn, where the reference has tensors that cannot shrink."""

LONG_NAME = "long_"
"""Begin of the name of a small workload in which one size alone is long."""

MOST_FIXED = 2
"""Most sizes that stay as they are, where the reference does not run with values when all change."""

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
    given: tuple[Given, ...] = ()
    """Arguments in all workloads; those left out have inputs inside of lists."""


def with_workloads(name: str, source: str) -> Problem:
    """Return the problem of a reference alone, as `derived` does."""
    return derived(Draft(name=name, reference=source)).problem


def derived(draft: Draft) -> Derived:
    """Complete a draft: its dtype, and small, ragged and hidden workloads.

    Runs the reference on meta tensors, and on the CPU at small sizes: call it in the cage (`kopt.problem.caged`).

    Raises:
        ProblemError: the reference does not run, or no small sizes are found.
    """
    from kopt.device.reference import trial  # here, because it imports torch
    from kopt.device.reference.file_name import naming

    with naming(draft.file):
        if draft.keep_dtypes is None and draft.dtype is None and trial.is_mixed(_problem(draft, draft.reference)):
            with suppress(ProblemError):  # the reference may run with one dtype alone
                return _derived(draft.model_copy(update={"keep_dtypes": True}))
        return _derived(draft)


def _derived(draft: Draft) -> Derived:
    from kopt.device.facts.arguments import given_in
    from kopt.device.reference import trial
    from kopt.device.reference.signature import signature_of

    known_literals = literals(draft.reference)
    used = {name for workload in _declared(draft) for name in workload.constants}
    whole = _problem(draft, named(draft.reference, [literal.name for literal in known_literals]))
    whole = whole.model_copy(update={"dtype": draft.dtype or trial.given_dtype(whole)})
    together: tuple[tuple[str, ...], ...] = ()
    if draft.small is None or draft.hidden is None:
        values = trial.constant_values(whole, constants(draft.reference))
        values |= {literal.name: literal.value for literal in known_literals}
        chosen = _chosen_of_sizes(whole, values, draft).with_values(whole)
        together = tuple(size.names for size in chosen.sizes.sizes)
        whole = whole.model_copy(update=chosen.workloads(draft))
    used |= {name for workload in (*whole.small, *whole.hidden) for name in workload.constants}
    problem = whole.model_copy(update={"reference": named(draft.reference, used)})
    signature = signature_of(problem, problem.main[0])
    if problem.keep_dtypes:
        trial.try_values(problem, problem.small[0].constants)  # tensors without values may differ in dtype
    if draft.seed and has_model_new(draft.seed):
        seed = Kernel(source=with_entry(draft.seed, problem.reference, signature, draft.name))
        problem = problem.model_copy(update={"seed": seed})
    every = (given_in(problem, workload) for workload in (*problem.main, *problem.hidden, *problem.small))
    return Derived(
        problem=problem, signature=signature, together=together, notes=draft.notes,
        given=tuple(one for one in every if one is not None),
    )  # fmt: skip


def _declared(draft: Draft) -> tuple[Workload, ...]:
    return (*draft.main, *(draft.hidden or ()), *(draft.small or ()))


def _runs(whole: Problem) -> Try:
    """Return what runs the reference on meta tensors with other sizes, each choice of sizes once.

    Raises:
        ProblemError: the reference does not run with its own sizes.
    """
    from kopt.device.reference import trial

    try:
        known: dict[tuple[tuple[str, int], ...], trial.Trial | None] = {(): trial.try_sizes(whole, {})}
    except ProblemError as error:
        others = [dtype for dtype in trial.floating_dtypes(whole) if dtype != whole.dtype.value]
        if not others or whole.keep_dtypes or not _runs_as_made(whole):
            raise
        raise ProblemError(
            f"{error}; kopt gives all floating-point inputs in {whole.dtype.value}, also those that are made in "
            f"{others[0]}: choose another dtype (--dtype, or dtype in problem.yaml), leave them as they are made "
            "(keep_dtypes: true in problem.yaml), or convert them in the reference"
        ) from error

    def run(sizes: Mapping[str, int]) -> trial.Trial | None:
        key = tuple(sorted(sizes.items()))
        if key not in known:
            known[key] = None
            with suppress(ProblemError):
                known[key] = trial.try_sizes(whole, sizes)
        return known[key]

    return run


def _runs_as_made(whole: Problem) -> bool:
    """Return whether the reference runs on meta tensors with inputs in the dtypes in which it makes them."""
    from kopt.device.reference import trial

    try:
        trial.try_sizes(whole.model_copy(update={"keep_dtypes": True}), {})
    except ProblemError:
        return False
    return True


def _sizes(whole: Problem, constants: Mapping[str, int], ties: Sequence[tuple[str, ...]]) -> Sizes:
    """Return the sizes of inputs and parameters; those of results, too, where only these make the reference small."""
    from kopt.device.reference import trial

    run = _runs(whole)
    sizes = Sizes(constants, run, ties=ties)
    if sizes.small(4 * SMALL) is None:
        wider = Sizes(constants, run, results=True, ties=ties)
        chosen = wider.small(4 * SMALL)
        with suppress(ProblemError):  # an index may be too large for the results that shrink
            if chosen is not None:
                trial.try_values(whole, chosen)
                return wider
    return sizes


@dataclass(frozen=True)
class _Choice:
    """Sizes, and the workloads that follow from them."""

    sizes: Sizes
    small: Mapping[str, Constants]
    hidden: Constants | None

    def with_values(self, whole: Problem) -> _Choice:
        """Return the choice without the long workloads with which the reference does not run with values."""
        small = {n: sizes for n, sizes in self.small.items() if not (n.startswith(LONG_NAME) and _raises(whole, sizes))}
        return replace(self, small=small)

    def workloads(self, draft: Draft) -> dict[str, tuple[Workload, ...]]:
        """Return the workloads that a draft leaves open."""
        small = tuple(Workload(name=name, constants=constants) for name, constants in self.small.items())
        hidden = (Workload(name="ragged", constants=self.hidden),) if self.hidden else ()
        return ({"small": small} if draft.small is None else {}) | ({"hidden": hidden} if draft.hidden is None else {})


def _chosen_of_sizes(whole: Problem, constants: Mapping[str, int], draft: Draft) -> _Choice:
    """Choose workloads that change the draft's sizes alone, or else any constants: a group's length is not a size."""
    if draft.sizes is not None:
        with suppress(ProblemError):
            return _chosen(whole, {name: n for name, n in constants.items() if name in draft.sizes}, draft)
    return _chosen(whole, constants, draft)


def _chosen(whole: Problem, constants: Mapping[str, int], draft: Draft) -> _Choice:
    """Choose workloads with which the reference runs with values.

    Where it does not, equal sizes are one, or else one or two sizes stay as they are: an index has to stay below the
    length of a table, and a bias is as long as a row of results.

    Raises:
        ProblemError: no small sizes are found, or the reference runs with none of them, or not with its own.
    """
    from kopt.device.reference import trial

    first = _choice(whole, constants, draft)
    reason = _fault(whole, first, draft)
    if not reason:
        return first
    trial.try_own_values(whole)  # else what is wrong would be told of other sizes, after all of them were tried
    names = [size.names for size in first.sizes.sizes]
    groups = equal_groups(constants, [name for of_size in names for name in of_size])
    fewer = [sum(some, ()) for count in range(MOST_FIXED + 1) for some in combinations(names, count)]
    for ties, fixed in dict.fromkeys((ties, fixed) for fixed in fewer for ties in (groups, ())):
        moving = {name: value for name, value in constants.items() if name not in fixed}
        with suppress(ProblemError):
            tied = _choice(whole, moving, draft, ties)
            if not _fault(whole, tied, draft):
                return _with_fewest_ties(whole, moving, draft, ties, tied)
    raise ProblemError(
        f"{draft.name}: {reason}; write a file with sizes as constants at its top, from which others follow "
        "(K = 4 * N), or declare small workloads in problem.yaml"
    )


def _with_fewest_ties(
    whole: Problem, constants: Mapping[str, int], draft: Draft, ties: Sequence[tuple[str, ...]], tied: _Choice
) -> _Choice:
    """Untie the sizes of a choice that need not change together."""
    at = {**constants, **tied.small[max(tied.small)]}
    fewest = tuple(group for tie in ties for group in parted(tie, at, lambda values: not _raises(whole, values)))
    with suppress(ProblemError):
        freer = _choice(whole, constants, draft, fewest)
        if not _fault(whole, freer, draft):
            return freer
    return tied


def _choice(
    whole: Problem, constants: Mapping[str, int], draft: Draft, ties: Sequence[tuple[str, ...]] = ()
) -> _Choice:
    """Choose workloads with which the reference runs on meta tensors.

    Raises:
        ProblemError: no small sizes are found.
    """
    sizes = _sizes(whole, constants, ties)
    small = _small(sizes, draft.name) if draft.small is None else {}
    hidden = sizes.ragged(HIDDEN // RESTS, start=4096, flat=HIDDEN // 2) if draft.hidden is None else None
    return _Choice(sizes, small, hidden)


def _fault(whole: Problem, choice: _Choice, draft: Draft) -> str:
    """Say with which sizes of a choice the reference does not run with values; empty where it runs with all.

    The hidden sizes are tried where an input holds integers, which may be indexes.
    """
    from kopt.device.reference import trial

    hidden = choice.hidden if choice.hidden and trial.has_integers(whole) else None
    tried = [("small", sizes) for name, sizes in choice.small.items() if not name.startswith(LONG_NAME)]
    for kind, sizes in [*tried, ("hidden", hidden)] if hidden else tried:
        if reason := _raises(whole, sizes):
            values = ", ".join(f"{name} = {value}" for name, value in sizes.items())
            return f"with the {kind} sizes {values or 'as given'}, {reason}"
    return ""


def _raises(whole: Problem, constants: Mapping[str, int]) -> str:
    """Say why the reference does not run with values at some sizes; empty where it runs."""
    from kopt.device.reference import trial

    try:
        trial.try_values(whole, constants)
    except ProblemError as error:
        return str(error)
    return ""


def _small(sizes: Sizes, name: str) -> dict[str, Constants]:
    """Return the small workloads.

    Raises:
        ProblemError: there are none.
    """
    for all_sizes, most in product((False, True), LARGER):
        if all_sizes:
            sizes.change_all()
        long = {LONG_NAME + name: constants for name, constants in sizes.long(4 * most)}
        chosen = {"tiles": sizes.small(4 * most), **long, "ragged": sizes.ragged(most)}
        small = {name: found for name, found in chosen.items() if found is not None}
        if len(small) == len(chosen):
            break
    if not small:
        raise ProblemError(
            f"{name}: no sizes were found at which the reference is small enough for kopt's interpreter: "
            "write sizes as module constants, or declare small workloads in problem.yaml"
        )
    return small


def _problem(draft: Draft, source: str) -> Problem:
    return Problem(
        name=draft.name, reference=source, seed=Kernel(source=draft.seed), dtype=draft.dtype or Dtype.FLOAT32,
        main=draft.main, hidden=draft.hidden or (), small=draft.small or (GIVEN,), tolerance=draft.tolerance,
        mutates=draft.mutates, inputs=draft.inputs, layout=draft.layout, floor=draft.floor, weights=draft.weights,
        keep_dtypes=draft.keep_dtypes or False,
    )  # fmt: skip
