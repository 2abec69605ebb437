"""Say of a problem, before anything is searched, for which sizes an exported kernel will run."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence

from kopt.errors import ProblemError
from kopt.model.problem import Given, Problem, Workload
from kopt.problem.literals import whole_numbers
from kopt.winner.accepted import MULTIPLE, POWER, Pattern, by_divisor
from kopt.winner.constants import made_with
from kopt.winner.judged import given_of, judged_beside

MOST_NAMED = 6
"""Most sizes of a kind that are named."""
INPUT_FUNCTIONS = ("get_inputs", "get_init_inputs")


Takes = Callable[[Mapping[str, int]], bool]
"""Says whether the reference runs with constants replaced."""


def size_rules(problem: Problem, given: Sequence[Given], takes: Takes | None = lambda _: True) -> tuple[str, bool]:
    """Say which sizes an exported kernel takes, and which alone; and whether it takes any of each.

    A search on a GPU verifies kernels with the hidden workloads, one without a GPU with the small ones.

    Args:
        problem: the problem.
        given: the arguments in all of its workloads; fewer where an input is inside a list.
        takes: says which other sizes may be named as an example; all where it is not given, none where it is None.

    Returns:
        Empty words where that is not known.
    """
    if len(given) != len((*problem.main, *problem.hidden, *problem.small)):
        return "", True
    try:
        (on_gpu, advice), (without, other_advice) = (
            _rules(problem, judge, given, takes) for judge in ("cuda", "interpret")
        )
    except ProblemError:
        return "", True
    both = [part for part in on_gpu if part in without]
    texts = [f"an exported kernel takes {'; '.join(both)}"] if both else []
    if on_gpu != without:
        rest, other_rest = (
            "; ".join(part for part in parts if part not in both) or "no more" for parts in (on_gpu, without)
        )
        first = "of a search on a GPU, " if both else "an exported kernel of a search on a GPU takes "
        texts += [f"{first}{rest}", f"of one without, {other_rest}"]
    advice = advice or other_advice
    return f"{'; '.join(texts)}{advice}", not advice


def _rules(problem: Problem, judge: str, given: Sequence[Given], takes: Takes | None) -> tuple[list[str], str]:
    """Return the sizes that a kernel takes that was verified with some workloads, and how to free others, if any."""
    found = made_with(problem, given_of(given, problem, judge), judged_beside(problem, judge), problem.seed.source)
    judged, wanted = found.given, [one for one in found.patterns if one.dtype]
    places = _places(wanted)
    names = [size for size in places if isinstance(size, str) and size.isidentifier()]
    free = [places[name][0] for name in names if not name.startswith((POWER, MULTIPLE))]
    multiples, powers = (by_divisor(n for n in names if n.startswith(kind)) for kind in (MULTIPLE, POWER))
    fixed = [f"{place} = {size}" for size, found in places.items() if isinstance(size, int) for place in found]
    parts = [f"any {_listed(free)}"] if free else []
    for divisor, several in multiples.items():
        parts.append(f"{_listed([places[name][0] for name in several])}: multiples of {divisor}")
    for divisor, several in powers.items():
        least = f" from {divisor} on" if divisor > 1 else ""
        parts.append(f"{_listed([places[name][0] for name in several])}: powers of two{least}")
    parts += [f"this size alone: {_listed(fixed)}"] if fixed else []
    if not (multiples or powers or fixed):
        return parts, ""
    return parts, f"; PyTorch runs for others; {_freeing(problem, judge, wanted, judged, takes)}"


def _places(wanted: Sequence[Pattern]) -> dict[int | str, list[str]]:
    """Return where each size stands; a dimension of one element counts where it leads the first input alone."""
    found: dict[int | str, list[str]] = {}
    for number, one in enumerate(wanted):
        for dimension, size in enumerate(one.sizes):
            if size != 1 or (number == dimension == 0):
                found.setdefault(size, []).append(f"{one.name}.shape[{dimension}]")
    return found


def _listed(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - MOST_NAMED} more" if labels[MOST_NAMED:] else ""
    return ", ".join(labels[:MOST_NAMED]) + more


def _freeing(
    problem: Problem, judge: str, wanted: Sequence[Pattern], given: Sequence[Given], takes: Takes | None
) -> str:
    """Write a workload that would free a size that is fixed, a power of two or a multiple."""
    columns = {
        column: isinstance(size, str) and size.startswith(MULTIPLE)
        for at, one in enumerate(wanted)
        for size, column in zip(one.sizes, _columns(given, at), strict=True)
        if isinstance(size, int) or size.startswith(POWER) or (size.startswith(MULTIPLE) and size.isidentifier())
    }
    named = _constants(problem, judged_beside(problem, judge))
    open_names = [name for name, column in named.items() if column in columns and column[0] > 1]
    if open_names and takes is None:
        return "to free a size, add a workload that has another one; kopt check gives an example"
    for name in open_names:
        value = named[name][0]
        others = (value - 1,) if columns[named[name]] else (value - 1, value - value // 4, value // 2)
        if another := next((other for other in others if takes is not None and takes({name: other})), 0):
            return (
                f"to free a size, add a workload that has another one, e.g. `other: {{{name}: {another}}}` under "
                "hidden and under small in problem.yaml"
            )
    if open_names:
        return f"the reference takes no others when {' or '.join(open_names)} alone changes"
    return (
        "to free a size, write it as a constant of problem.py that get_inputs reads, and add a workload that has "
        "another one in problem.yaml"
    )


def _columns(given: Sequence[Given], number: int) -> Iterator[tuple[int, ...]]:
    """Yield the sizes of each dimension of a tensor, workload by workload."""
    tensors = [[one for one in every.arguments if one.dtype][number] for every in given]
    yield from zip(*(tensor.shape for tensor in tensors), strict=True)


def _constants(problem: Problem, others: Sequence[Workload]) -> Mapping[str, tuple[int, ...]]:
    """Return the values, workload by workload, of the constants that the functions of the inputs name."""
    tree = ast.parse(problem.reference)
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in INPUT_FUNCTIONS]
    read = dict.fromkeys(n.id for one in functions for n in ast.walk(one) if isinstance(n, ast.Name))
    values = whole_numbers(problem.reference)
    workloads = (*problem.main, *others)
    return {
        name: tuple(int(workload.constants.get(name, values[name])) for workload in workloads)
        for name in read
        if name in values
    }
