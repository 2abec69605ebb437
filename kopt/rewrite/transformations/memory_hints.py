"""Transform memory hints: eviction policies and cache modifiers of loads and stores."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from random import Random

import libcst as cst

from kopt.rewrite.source import syntax
from kopt.rewrite.source.module import Kernel, TritonModule
from kopt.rewrite.source.shapes import analyse
from kopt.rewrite.transformation import Change, RewriteFacts, Site, Transformation, change, weight

HINTS = ("eviction_policy", "cache_modifier")
PLACES = {"tl.load": 5, "tl.store": 4}
"""Arguments before the first hint, by function."""
STREAMED = (("eviction_policy", "evict_first"), ("cache_modifier", ".cg"))
REUSED = (("eviction_policy", "evict_last"), ("cache_modifier", ".ca"))
STORED = (("cache_modifier", ".cs"), ("cache_modifier", ".wt"), ("eviction_policy", "evict_first"))


def _load_sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    sites = []
    for kernel in module.kernels:
        values = analyse(kernel)
        for call in kernel.called("tl.load"):
            pointer = syntax.argument(call, 0, "pointer")
            if pointer is None or syntax.starred(call):
                continue
            axes = values[pointer.value].programs if pointer.value in values else frozenset()
            every = {axis for value in values.values() for axis in value.programs}
            hints = STREAMED if axes == every else REUSED + STREAMED[1:]
            sites.append(Site(partial(_hint, module, kernel, call, hints), weight(kernel)))
    return sites


def _store_sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    return [
        Site(partial(_hint, module, kernel, call, STORED), weight(kernel))
        for kernel in module.kernels
        for call in kernel.called("tl.store")
        if not syntax.starred(call)
    ]


def _hint(
    module: TritonModule, kernel: Kernel, call: cst.Call, hints: Sequence[tuple[str, str]], rng: Random
) -> Change | None:
    name, value = rng.choice(hints)
    hinted = [argument for hint in HINTS if (argument := syntax.keyword(call, hint)) is not None]
    by_place = sum(argument.keyword is None for argument in call.args) > PLACES[syntax.called(call)]
    if by_place or len(hinted) == len(HINTS):
        return None
    if any(arg.keyword and arg.keyword.value == name and _text(arg) == value for arg in hinted):
        return None
    edits = module.edits()
    for each in _twins(kernel, call):
        for passed in (argument for hint in HINTS if (argument := syntax.keyword(each, hint)) is not None):
            assert passed.keyword is not None
            edits.replace(passed.keyword, name)  # in place of another hint: ptxas refuses most pairs
            edits.replace(passed.value, f'"{value}"')
        if not hinted:
            edits.after(each.args[-1], f', {name}="{value}"')
    what = "load" if syntax.called(call) == "tl.load" else "store"
    pointer = syntax.code(call.args[0].value)
    return change(edits, f'{name}="{value}" on the {what} of {pointer} in {kernel.name}')


def _text(argument: cst.Arg) -> str:
    return syntax.code(argument.value).strip("\"'")


def _twins(kernel: Kernel, call: cst.Call) -> Sequence[cst.Call]:
    """Find the calls that read the same as one, itself too, inside of the same loops.

    The compiler loads once for all of them as long as their hints are the same.
    """
    bodies = [{id(node) for node in syntax.walk(loop.body)} for loop in kernel.loops]
    inside = [id(call) in body for body in bodies]
    alike = (each for each in kernel.called(syntax.called(call)) if syntax.code(each) == syntax.code(call))
    return [each for each in alike if [id(each) in body for body in bodies] == inside]


TRANSFORMATIONS = (
    Transformation(
        "load_hint", "eviction policy or cache modifier on a load: streamed once, or reused by other programs",
        ("vectorized_load", "swizzled_load"), ("l2_misses", "redundant_traffic"),
        _load_sites, 0.8, marks=("eviction_policy", "cache_modifier"), refines=True,
    ),
    Transformation(
        "store_hint", "streaming hint on a store whose result is not read again",
        (), ("l2_misses",), _store_sites, 0.5,
        marks=("eviction_policy", "cache_modifier"), refines=True,
    ),
)  # fmt: skip
