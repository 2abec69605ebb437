"""Try, before a search, to make a seed kernel of a problem's reference; the search finds it in the store."""

from __future__ import annotations

import ast
from pathlib import Path

from kopt.errors import KoptError, StoreError
from kopt.jobs.made_seed import kept_seed, seeds_of
from kopt.model.device import Device
from kopt.model.problem import Problem
from kopt.preflight.check_lines import SEED, Line
from kopt.seed.make import Seed
from kopt.store import Store

MAKERS = {
    "inductor": "TorchInductor",
    "template": "a template of kopt",
    "inductor and template": "TorchInductor and a template of kopt",
}
"""Makers of seeds, in words."""


def seed_line(problem: Problem, device: Device, store: Path, place: Path) -> Line:
    """Make a seed of the reference, or look it up in the store, and say by whom it was made, or why none can be.

    Args:
        problem: the problem, which has no kernel of its own.
        device: the device to write for.
        store: folder of the store that keeps the seed; where it cannot be written, the seed is not kept.
        place: the problem's folder or file.
    """
    try:
        try:
            seed = kept_seed(problem, device, Store(store))
        except StoreError:
            seed = seeds_of(problem, device)[0]
    except KoptError as error:
        text = f"none can be made of the reference: {error}; a search needs kernel.py: {_instead(place)}"
        return Line(name=SEED, state="note", text=text)
    number = _kernels(seed)
    kernels = f"{number} kernel{'' if number == 1 else 's'}"
    text = (
        f"can be made of the reference: {kernels}, by {MAKERS[seed.made_by]}; whether it is right, a search finds out"
    )
    return Line(name=SEED, state="ok", text=text)


def _instead(place: Path) -> str:
    """Say how a problem gets a kernel of its own."""
    if place.is_file():
        return f"make the problem a folder, kopt new NAME --from {place}, and write kernel.py there (docs/problems.md)"
    return (
        f"write it into {place} (docs/problems.md), or let a language model do it, kopt seed {place} --model NAME "
        f"--output {place / 'kernel.py'}"
    )


def _kernels(seed: Seed) -> int:
    """Count the kernels that a seed launches."""
    calls = (node.func for node in ast.walk(ast.parse(seed.source)) if isinstance(node, ast.Call))
    launched = (one.value for one in calls if isinstance(one, ast.Subscript))
    return len({one.id for one in launched if isinstance(one, ast.Name)})
