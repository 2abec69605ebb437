"""Try to simplify a kernel, one part of its lineage after the other, and keep what is right and not slower."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from kopt.model.base import Value
from kopt.neutral import one_line
from kopt.simplify.changes import Change, Step, step_of, undone
from kopt.simplify.dead_code import without_dead_code
from kopt.simplify.stale import without_stale_words

SEED_STEP = 80
"""Most characters of a description that name a step."""


class Judgement(Value):
    """What the judge found of one text."""

    outcome: Literal["kept", "slower", "wrong"]
    """`kept` when it is right and not slower than the kernel that is simplified."""
    reason: str = ""
    """Why it is wrong; foreign text."""
    ms: float | None = None
    """Objective, ms; None when it is wrong."""
    ratio: float | None = None
    """Its time over that of the kernel that is simplified, under 1 is faster."""
    interval: tuple[float, float] | None = None
    """95 % interval of the ratio; None for an estimate."""


class Trial(Value):
    """One attempt to simplify."""

    what: str
    """What was undone or removed, in words; holds foreign text."""
    kind: Literal["step", "part", "dead code", "comments"]
    outcome: Literal["kept", "slower", "wrong", "not possible"]
    reason: str = ""
    ms: float | None = None
    ratio: float | None = None
    interval: tuple[float, float] | None = None
    lines: int
    """Lines of the text that was tried."""


class Ancestor(Value):
    """A kernel of a lineage."""

    name: str
    description: str
    """The change from its parent, in the proposer's words."""
    source: str


class Simplified(Value):
    """A simplified kernel, and how it came about."""

    source: str
    trials: tuple[Trial, ...]
    untried: int
    """Parts that were left out, since the number of trials was spent."""


Judge = Callable[[str], Judgement]
"""Judge a kernel's text against the kernel that is simplified."""


def simplify(
    lineage: Sequence[Ancestor], entry: str, judge: Judge, *, most: int, on_trial: Callable[[Trial], None]
) -> Simplified:
    """Undo each step that does not pay, from the last to the first, as a whole or in parts, then remove dead code.

    Args:
        lineage: the kernel's ancestors, the seed kernel first, and the kernel itself last.
        entry: name of its entry point.
        judge: judges a text.
        most: most texts that are judged.
        on_trial: is told each trial when it has ended.
    """
    state = _State(lineage[-1].source, judge, most, on_trial)
    for before, after in reversed(list(pairwise(lineage))):
        _undo_step(state, step_of(before.source, after.source), after)
    sources = [ancestor.source for ancestor in lineage]
    shorter, removed = without_dead_code(state.source, entry)
    if removed:
        state.attempt(shorter, f"removed {', '.join(removed)}", "dead code")
    shorter, words = without_stale_words(state.source, sources)
    if words:
        plural = "s and docstrings that were" if words > 1 else " or docstring that was"
        state.attempt(shorter, f"removed {words} comment{plural} written for other code", "comments")
    return Simplified(source=state.source, trials=tuple(state.trials), untried=state.untried)


@dataclass
class _State:
    """The simplest text so far, and what was tried."""

    source: str
    judge: Judge
    most: int
    on_trial: Callable[[Trial], None]
    trials: list[Trial] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    untried: int = 0

    def __post_init__(self) -> None:
        self.seen.add(self.source)

    def attempt(self, text: str, what: str, kind: Literal["step", "part", "dead code", "comments"]) -> bool:
        """Judge a text that has not been judged, and keep it if it is right and not slower."""
        if text in self.seen:
            return False
        if sum(trial.outcome != "not possible" for trial in self.trials) >= self.most:
            self.untried += 1
            return False
        self.seen.add(text)
        found, lines = self.judge(text), len(text.splitlines())
        self.note(Trial(what=what, kind=kind, lines=lines, **found.model_dump()))
        if found.outcome == "kept":
            self.source = text
        return found.outcome == "kept"

    def note(self, trial: Trial) -> None:
        """Tell of a trial."""
        self.trials.append(trial)
        self.on_trial(trial)


def _undo_step(state: _State, step: Step, after: Ancestor) -> None:
    """Undo a step; where it pays or is wrong as a whole, undo those of its parts that do not pay."""
    words = one_line(after.description, SEED_STEP) or "no description"
    whole, *parts = [*step.parts(), ()]
    text = _possible(state.source, step, whole) if whole else None
    if text is None:
        reason = "later steps build on it"
        lines = len(state.source.splitlines())
        state.note(
            Trial(what=f"{after.name}: {words}", kind="step", outcome="not possible", reason=reason, lines=lines)
        )
    elif state.attempt(text, f"{after.name}: {words}", "step"):
        return
    kept: set[Change] = set()
    for part in filter(None, parts):
        text = _possible(state.source, step, part) if kept.isdisjoint(part) else None
        if text is not None and state.attempt(text, f"part of {after.name}: {_quoted(step, part)}", "part"):
            kept |= set(part)


def _quoted(step: Step, part: Sequence[Change]) -> str:
    more = f" and {len(part) - 1} more" if len(part) > 1 else ""
    return f"{one_line(step.excerpt(part), SEED_STEP).strip(', ')}{more}"


def _possible(source: str, step: Step, part: Sequence[Change]) -> str | None:
    """Return a text without a part of a step; None where that is no module whose names are all defined."""
    text = undone(source, step, part)
    if text is None or text == source:
        return None
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return None
    return text if set(_read(tree)) <= {*_bound(tree), *dir(builtins), "__name__", "__file__"} else None


def _read(tree: ast.AST) -> Iterator[str]:
    return (n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load))


def _bound(tree: ast.AST) -> Iterator[str]:
    """Yield the names that a module defines somewhere, in whatever scope."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).partition(".")[0]
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name
