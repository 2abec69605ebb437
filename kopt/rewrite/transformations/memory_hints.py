"""Transformations of memory hints: eviction policies and cache modifiers of loads and stores."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import libcst as cst

from kopt.rewrite.source import syntax
from kopt.rewrite.source.module import TritonModule
from kopt.rewrite.source.shapes import analyse
from kopt.rewrite.transformation import Change, RewriteFacts, Site, Transformation, change, weight

STREAMED = (("eviction_policy", "evict_first"), ("cache_modifier", ".cg"))
REUSED = (("eviction_policy", "evict_last"), ("cache_modifier", ".ca"))
STORED = (("cache_modifier", ".cs"), ("cache_modifier", ".wt"), ("eviction_policy", "evict_first"))


def _load_sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    found = []
    for kernel in module.kernels:
        known = analyse(kernel)
        for call in kernel.called("tl.load"):
            pointer = syntax.argument(call, 0, "pointer")
            if pointer is None or syntax.starred(call):
                continue
            axes = known[pointer.value].programs if pointer.value in known else frozenset()
            every = {p for value in known.values() for p in value.programs}
            hints = STREAMED if axes == every else REUSED + STREAMED[1:]
            found.append(Site(kernel, node=call, choices=hints, weight=weight(kernel)))
    return found


def _store_sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    return [
        Site(kernel, node=call, choices=STORED, weight=weight(kernel))
        for kernel in module.kernels
        for call in kernel.called("tl.store")
        if not syntax.starred(call)
    ]


def _hint(module: TritonModule, site: Site, rng: Random) -> Change | None:
    call = site.node
    assert isinstance(call, cst.Call)
    name, value = rng.choice(site.choices)
    passed = syntax.keyword(call, name)
    if passed is not None and syntax.code(passed.value).strip("\"'") == value:
        return None
    edits = module.edits()
    if passed is not None:
        edits.replace(passed.value, f'"{value}"')
    else:
        edits.after(call.args[-1], f', {name}="{value}"')
    what = "load" if syntax.called(call) == "tl.load" else "store"
    pointer = syntax.code(call.args[0].value)
    return change(edits, f'{name}="{value}" on the {what} of {pointer} in {site.kernel.name}')


KINDS = (
    Transformation(
        "load_hint", "eviction policy or cache modifier on a load: streamed once, or reused by other programs",
        ("vectorized_load", "swizzled_load"), ("l2_misses", "redundant_traffic"),
        _load_sites, _hint, 0.8,
    ),
    Transformation(
        "store_hint", "streaming hint on a store whose result is not read again",
        (), ("l2_misses",), _store_sites, _hint, 0.5,
    ),
)  # fmt: skip
