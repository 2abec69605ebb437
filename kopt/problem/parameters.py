"""Match the inputs that are written on a command line with the parameters of the function that takes them."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple  # the user's functions take and return anything

from kopt.errors import ProblemError, nearest

EXAMPLE = "torch.randn(4096, 8192)"
"""An example input, for messages."""


class Parameters(NamedTuple):
    """What a function takes; torch's own functions do not tell theirs, and take whatever is given."""

    by_place: tuple[str, ...] = ()
    """Names of those that are passed by their place, in order."""
    place_only: frozenset[str] = frozenset()
    """Those of them that cannot be passed by name."""
    name_only: tuple[str, ...] = ()
    """Names of those that can be passed by name only."""
    required: frozenset[str] = frozenset()
    """Names of those without a default."""
    more: bool = True
    """Whether further arguments may follow."""
    more_by_name: bool = True
    """Whether further arguments may be given by name."""

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in order."""
        return self.by_place + self.name_only


def parameters_of(function: Callable[..., Any], skip: int = 0) -> Parameters:
    """Return what a function takes.

    Args:
        function: the function.
        skip: parameters at the begin that are left out, such as `self`.
    """
    try:
        found = list(inspect.signature(function).parameters.values())[skip:]
    except (TypeError, ValueError):
        return Parameters()
    kinds = {one.kind for one in found}
    by_place = [one for one in found if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    name_only = [one for one in found if one.kind is one.KEYWORD_ONLY]
    return Parameters(
        by_place=tuple(one.name for one in by_place),
        place_only=frozenset(one.name for one in by_place if one.kind is one.POSITIONAL_ONLY),
        name_only=tuple(one.name for one in name_only),
        required=frozenset(one.name for one in (*by_place, *name_only) if one.default is one.empty),
        more=inspect.Parameter.VAR_POSITIONAL in kinds,
        more_by_name=inspect.Parameter.VAR_KEYWORD in kinds,
    )


def matched(texts: Sequence[tuple[str, str | None]], parameters: Parameters, word: str) -> list[str]:
    """Return the name of the parameter that each input is for.

    Args:
        texts: each input as it is written, and the name that it gives, or None.
        parameters: of the function.
        word: the function's name for messages.

    Raises:
        ProblemError: there are too many inputs or too few, or one cannot be given so.
    """
    names: list[str] = []
    named = ""
    for text, name in texts:
        where = f"--inputs {text!r}"
        if name is None and named:
            raise ProblemError(f"{where} stands behind one given by name: give it by name too")
        own = _by_place(text, len(names), len(texts), parameters, word) if name is None else name
        if name is not None:
            named = name
            _check_name(name, parameters, word, where)
        if own in names:
            raise ProblemError(
                f"{where}: {own} of {word} is given twice, also by --inputs {texts[names.index(own)][0]!r}"
            )
        names.append(own)
    missing = [name for name in parameters.names if name in parameters.required and name not in names]
    if missing:
        lacking = f"no input is given for {', '.join(missing)}" if texts else "it needs example inputs"
        raise ProblemError(f"{word}: {lacking}: write {_whole(texts, missing, parameters)}, with sizes of yours")
    return names


def _by_place(text: str, at: int, count: int, parameters: Parameters, word: str) -> str:
    """Return the name of the parameter at a place."""
    where = f"--inputs {text!r}"
    if at < len(parameters.by_place):
        return parameters.by_place[at]
    if parameters.more:
        return "x" if count == 1 else f"x{at}"
    left = parameters.name_only
    if at < len(parameters.names):
        raise ProblemError(
            f"{where}: {word} takes {', '.join(left)} by name only: write {shlex.quote(f'{left[0]}={text}')}"
        )
    raise ProblemError(
        f"{where} is one too many: {word} takes {len(parameters.names)} arguments ({', '.join(parameters.names)})"
    )


def _check_name(name: str, parameters: Parameters, word: str, where: str) -> None:
    """Refuse a name that the function does not take."""
    if name in parameters.place_only and not parameters.more_by_name:
        raise ProblemError(f"{where}: {word} takes {name} by its place only: leave {name}= out")
    if name not in parameters.names and not parameters.more_by_name:
        raise ProblemError(f"{where}: {word} has no parameter {name!r}{nearest(name, parameters.names)}")


def _whole(texts: Sequence[tuple[str, str | None]], missing: Sequence[str], parameters: Parameters) -> str:
    """Write the option --inputs with an example for each parameter that lacks an input."""
    by_place = [text for text, name in texts if name is None]
    by_name = [text for text, name in texts if name is not None]
    by_place += [EXAMPLE for name in missing if name in parameters.place_only]
    by_name += [f"{name}={EXAMPLE}" for name in missing if name not in parameters.place_only]
    return " ".join(["--inputs", *map(shlex.quote, by_place + by_name)])
