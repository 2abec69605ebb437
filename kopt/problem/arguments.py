"""Read the arguments of a function as they are written on a command line, and name the sizes in them.

Values are looked at on meta tensors: what is written is run.  Call it in the cage.
"""

from __future__ import annotations

import ast
import builtins
import copy
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any  # the user's functions take and return anything

from kopt.errors import ProblemError, nearest
from kopt.problem.literals import bounds_of, numbers_in
from kopt.problem.parameters import Parameters, matched, parameters_of

ATTENTION = 3
"""Fewest dimensions from which inputs that are written alike keep equal shapes."""
STRUCTURAL = (3, 5, 7)
"""Last sizes of a tensor of three or more dimensions that stay as they are: a kernel of a convolution, coordinates."""
HEADS = 4
"""Fewest dimensions from which inputs that differ in one number keep the others equal."""

TOOLS = {"torch": "import torch", "nn": "from torch import nn", "F": "import torch.nn.functional as F",
         "math": "import math"}  # fmt: skip
"""Names that inputs may use, with their imports."""


@dataclass
class Argument:
    """An argument, and the numbers in it that may be sizes."""

    name: str
    expression: ast.expr
    keyword: bool
    """Whether it is passed by name."""
    tensor: bool = True
    numbers: dict[str, ast.Constant] = field(default_factory=dict)
    """By the names of the constants that may stand for them."""

    def text(self, names: Mapping[str, str]) -> str:
        """Write the expression with constants in the place of its numbers; `names` maps a number's name to them."""
        by_number = {id(node): names[name] for name, node in self.numbers.items() if name in names}
        return ast.unparse(_Named(by_number).visit(_copy_of(self.expression)))


def input_arguments(texts: Sequence[str], target: Any, word: str) -> list[Argument]:
    """Return the arguments of a call, in the order in which they are passed.

    Args:
        texts: an expression each, by name (`eps=1e-6`) or not.
        target: the function, or the class of modules, that is called.
        word: the target's name for messages.

    Raises:
        ProblemError: an argument is no expression, raises, or does not fit the target.
    """
    called = getattr(target, "forward", target) if isinstance(target, type) else target
    parsed = [_parsed(text) for text in texts]
    given = [(text, name) for text, (name, _) in zip(texts, parsed, strict=True)]
    tensor = [_has_tensor(one, f"--inputs {text!r}") for text, (_, one) in zip(texts, parsed, strict=True)]
    names = matched(given, parameters_of(called, skip=int(isinstance(target, type))), word)
    arguments = [
        Argument(own, expression, keyword=name is not None, tensor=has)
        for own, (name, expression), has in zip(names, parsed, tensor, strict=True)
    ]
    if not any(argument.tensor for argument in arguments):
        raise ProblemError("none of the --inputs is a tensor: write e.g. --inputs 'torch.randn(4096, 8192)'")
    return arguments


def init_arguments(init: str | None, target: type) -> list[Argument]:
    """Return the arguments with which a class of modules is made.

    Raises:
        ProblemError: they are no arguments, or have no names beside others that have, or the class takes others.
    """
    try:
        call = ast.parse(f"_({init or ''})", mode="eval").body
    except SyntaxError as error:
        raise ProblemError(f"--init {init!r} is not a list of arguments: write e.g. --init '8192, eps=1e-6'") from error
    assert isinstance(call, ast.Call)
    taken = parameters_of(target.__init__, skip=1)  # type: ignore[misc]  # of whatever class the user names
    names = taken.names
    made = [
        Argument(names[at] if at < len(names) else f"argument{at}", value, keyword=False)
        for at, value in enumerate(call.args)
    ]
    made += [Argument(word.arg, word.value, keyword=True) for word in call.keywords if word.arg is not None]
    if any(argument.keyword for argument in made) and len(call.args) > len(names):
        raise ProblemError(f"--init {init!r} has {len(call.args)} arguments without a name; give them by name")
    _check_init(init, made, taken, target.__name__)
    return made


def _check_init(init: str | None, made: Sequence[Argument], taken: Parameters, word: str) -> None:
    """Refuse arguments that a class does not take, and those that lack one."""
    given = [argument.name for argument in made]
    for name in given:
        if name not in taken.names and not (taken.more_by_name or taken.more):
            known = f" (it takes {', '.join(taken.names)})" if taken.names else ""
            said = f"{word} has no parameter {name!r}{nearest(name, taken.names)}"
            if name.startswith("argument"):
                said = f"{word} takes {len(taken.names)} arguments, not {len(made)}"
            raise ProblemError(f"--init {init!r}: {said}{known}")
    missing = [name for name in taken.names if name in taken.required and name not in given]
    if missing:
        told = f"--init {init!r} gives no" if init else "--init gives the arguments of the class, and is missing:"
        example = ", ".join([*([init] if init else []), *(f"{name}=..." for name in missing)])
        raise ProblemError(f"{word}: {told} {', '.join(missing)}: write --init '{example}', with values of yours")


def _parsed(text: str) -> tuple[str | None, ast.expr]:
    """Return the name of an input where it has one, and its expression."""
    name, sign, rest = text.partition("=")
    named = bool(sign) and name.strip().isidentifier() and not rest.startswith("=")
    try:
        expression = ast.parse((rest if named else text).strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError) as error:
        raise ProblemError(
            f"--inputs {text!r} is not an expression: write e.g. 'torch.randn(4096, 8192)' or 'dim=-1'"
        ) from error
    return (name.strip() if named else None), expression


def _has_tensor(expression: ast.expr, where: str) -> bool:
    """Return whether an input holds tensors."""
    from kopt.device.reference.objects import NAMESPACE, makes_tensors  # here, because it imports torch

    nodes = [node for node in ast.walk(expression) if isinstance(node, ast.Name)]
    known = {*NAMESPACE, *dir(builtins), *(node.id for node in nodes if isinstance(node.ctx, ast.Store))}
    if unknown := [node.id for node in nodes if node.id not in known]:
        raise ProblemError(f"{where} names {unknown[0]!r}; inputs may use {', '.join(NAMESPACE)} alone")
    try:
        return makes_tensors(ast.unparse(expression))
    except Exception as error:
        raise ProblemError(f"{where} raises {type(error).__name__}: {error}") from error


def name_numbers(argument: Argument, taken: set[str]) -> None:
    """Give names to the numbers in an argument that may be sizes; `taken` holds names that are not free."""
    numbers = list(numbers_in(argument.expression))
    numbers.sort(key=lambda node: (node.lineno, node.col_offset))
    is_structural = len(numbers) >= ATTENTION
    while is_structural and numbers and numbers[-1].value in STRUCTURAL:
        numbers.pop()
    for at, node in enumerate(numbers):
        name = argument.name if len(numbers) == 1 and node is argument.expression else f"{argument.name}_{at}"
        while name in taken:
            name += "_"
        taken.add(name)
        argument.numbers[name] = node


def equal_sizes(arguments: Sequence[Argument]) -> dict[str, str]:
    """Return the names of numbers that stand for another one's size, with the name of that one.

    The bound of `torch.randint(0, 32000, (8192,))` is a size where another argument has the same number: it must shrink
    with it.  Inputs of three or more equal dimensions, such as q, k and v of an attention, keep equal shapes; of
    four or more, all but one of which are equal, such as q and k of fewer heads, these stay equal.
    """
    equal: dict[str, str] = {}
    by_text: dict[str, Argument] = {}
    for argument in arguments:
        like = by_text.setdefault(ast.dump(argument.expression), argument)
        if like is not argument and len(argument.numbers) >= ATTENTION:
            equal |= {name: equal.get(first, first) for name, first in zip(argument.numbers, like.numbers, strict=True)}
        elif like is argument:
            like_others = _equal_but_one(argument, by_text.values())
            equal |= {name: equal.get(first, first) for name, first in like_others.items()}
    bounds = {name for argument in arguments for name in _bounds(argument)} - set(equal)
    values = {name: node.value for argument in arguments for name, node in argument.numbers.items()}
    sizes: dict[object, str] = {}
    for name, value in values.items():
        if name not in bounds and name not in equal:
            sizes.setdefault(value, name)
    return equal | {name: sizes[values[name]] for name in bounds if values[name] in sizes}


def partners(arguments: Sequence[Argument], together: Collection[Collection[str]]) -> dict[str, str]:
    """Return the names of numbers that stand for another one's size, in inputs that are written alike.

    Such inputs keep equal shapes where the reference lets one of their dimensions change together only: two tables of
    one rotation, the two states of a recurrent cell.  Factors of a square product do not.

    Args:
        arguments: the arguments.
        together: names of constants that can change together only.
    """
    group_of = {name: place for place, group in enumerate(together) for name in group}
    equal: dict[str, str] = {}
    by_text: dict[str, list[Argument]] = {}
    for argument in arguments:
        for like in by_text.setdefault(ast.dump(argument.expression), []):
            pairs = list(zip(argument.numbers, like.numbers, strict=True))
            if any(own in group_of and group_of[own] == group_of.get(first) for own, first in pairs):
                equal |= {own: equal.get(first, first) for own, first in pairs}
                break
        by_text[ast.dump(argument.expression)].append(argument)
    return equal


def _equal_but_one(argument: Argument, others: Iterable[Argument]) -> dict[str, str]:
    """Return the names of an argument's numbers with those of an earlier one that differs in one number alone."""

    def frame(one: Argument) -> str:
        return one.text(dict.fromkeys(one.numbers, "size"))

    own = list(argument.numbers.items())
    for other in others:
        earlier = list(other.numbers.items())
        if other is argument or len(own) != len(earlier) or len(own) < HEADS or frame(argument) != frame(other):
            continue
        pairs = zip(own, earlier, strict=True)
        equal = {name: first for (name, node), (first, of_first) in pairs if node.value == of_first.value}
        if len(equal) == len(own) - 1:
            return equal
    return {}


def _bounds(argument: Argument) -> set[str]:
    """Return the names of the numbers in an argument that bound random integers."""
    calls = [node for node in ast.walk(argument.expression) if isinstance(node, ast.Call)]
    found = {id(value) for call in calls for value in bounds_of(call)}
    return {name for name, node in argument.numbers.items() if id(node) in found}


class _Named(ast.NodeTransformer):
    """Replace numbers by names of constants."""

    def __init__(self, names: Mapping[int, str]) -> None:
        self._names = names

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        name = self._names.get(node.__dict__.get("origin", 0))
        return ast.copy_location(ast.Name(name, ast.Load()), node) if name else node


def _copy_of(expression: ast.expr) -> ast.expr:
    """Copy an expression; each constant of the copy knows the one that it comes from."""
    made = copy.deepcopy(expression)
    for own, other in zip(ast.walk(made), ast.walk(expression), strict=True):
        if isinstance(own, ast.Constant):
            own.__dict__["origin"] = id(other)
    return made
