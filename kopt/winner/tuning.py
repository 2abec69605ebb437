"""Give a kernel's autotuners the configurations that won on a GPU, so that they try none for the timed shapes.

In Triton's interpreter, which has nothing to time, they take their first configuration.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import groupby
from typing import NamedTuple

from kopt.model.build import Built, Launch
from kopt.model.timing import Launched
from kopt.winner.source import ModuleText, autotuned

NAMES = frozenset({"TUNED", "_remember_configurations"})
"""Names that the added statements define."""
INTERPRETED = "_choose_when_interpreted"
"""Name of the added function by which autotuners work in Triton's interpreter."""


class Choice(NamedTuple):
    """The choice of an autotuner for one key."""

    kernel: str
    """Name of the jitted function."""
    key: tuple[object, ...]
    """The key under which the autotuner keeps its choice: sizes, numbers, and names of dtypes."""
    configuration: int
    """Number of the configuration among those of the autotuner."""


def choices(build: Built | None, launched: Mapping[str, Sequence[Launched]]) -> tuple[Choice, ...]:
    """Return the choices of a kernel's autotuners on a GPU, each once.

    Args:
        build: the kernel's build, with every configuration; None where it is not known.
        launched: the launches of one call on the GPU, by main workload.
    """
    found = [
        choice
        for workload in (build.workloads if build is not None else ())
        for choice in _choices(workload.launches, launched.get(workload.workload, ()))
    ]
    return tuple(dict.fromkeys(found))


def _choices(built: Sequence[Launch], launched: Sequence[Launched]) -> Iterator[Choice]:
    """Yield the choices in one call: of the configurations that were built for it, the one that was launched."""
    ran = set(launched)
    trials = [launch for launch in built if launch.trial and launch.configuration is not None]
    for _, group in groupby(trials, key=lambda launch: (launch.kernel, launch.call)):
        chosen = [launch for launch in group if Launched(launch.cubin, launch.grid) in ran]
        if chosen:
            with suppress(ValueError, SyntaxError):  # a key of other objects cannot be written down
                key = tuple(ast.literal_eval(text) for text in chosen[0].tuned_for)
                yield Choice(chosen[0].kernel, key, chosen[0].configuration or 0)


def with_choices(text: ModuleText, chosen: Sequence[Choice]) -> ModuleText:
    """Add the statements that give a module's autotuners their choices.

    An autotuner without a name of its own in the module, or in a module that has these names, keeps trying.
    """
    known = [choice for choice in chosen if choice.kernel in autotuned(text.body)]
    if not known or text.names & NAMES:
        return text
    return replace(text, body=f"{text.body}\n\n\n{_remembered(known)}", names=text.names | NAMES)


def with_choice_in_interpreter(text: ModuleText) -> ModuleText:
    """Add the statements by which a module's autotuners take their first configuration in Triton's interpreter.

    There an autotuner with several raises `0 active drivers`, since it asks for a GPU's clock.
    """
    tuners = sorted(autotuned(text.body))
    if not tuners or INTERPRETED in text.names:
        return text
    statements = f'''def {INTERPRETED}():
    """Let autotuners take their first configuration in Triton's interpreter, which has nothing to time."""
    from triton import knobs

    if knobs.runtime.interpret:
        for tuner in ({", ".join(tuners)},):
            while not hasattr(tuner, "configs"):
                tuner = tuner.fn
            tuner.configs = tuner.configs[:1]


{INTERPRETED}()'''
    return replace(text, body=f"{text.body}\n\n\n{statements}", names=text.names | {INTERPRETED})


def have_same_autotuners(one: str, other: str) -> bool:
    """Return whether two modules differ inside functions alone, so that a choice holds for both."""

    def outside_functions(source: str) -> str:
        tree = ast.parse(source)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                node.body = []
        return ast.dump(tree)

    return one == other or outside_functions(one) == outside_functions(other)


def _remembered(chosen: Sequence[Choice]) -> str:
    """Write the statements."""
    entries = "".join(f"    ({one.kernel}, {one.key!r}, {one.configuration}),\n" for one in chosen)
    return f'''TUNED = [  # autotuner, key and number of the configuration that won for a timed shape
{entries}]


def _remember_configurations():
    """Give autotuners their configurations for the timed shapes; for other shapes they try all that they have."""
    for tuner, key, number in TUNED:
        while not hasattr(tuner, "configs"):
            tuner = tuner.fn
        tuner.cache[key] = tuner.configs[number]


_remember_configurations()'''
