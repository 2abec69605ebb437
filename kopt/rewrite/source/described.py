"""Read the tiles that descriptors of the host bring, from the launch: a kernel does not say how large they are."""

from __future__ import annotations

import re
from collections.abc import Mapping

import libcst as cst

from kopt.rewrite.source import syntax

MAKERS = {"TensorDescriptor": (3, ()), "TensorDescriptor.from_tensor": (1, ()), "describe_pair": (4, ("2",))}
"""Functions that make descriptors: the position of a tile's lengths, and the dimensions that stand before them."""


def tile_of(made: cst.BaseExpression | None, parameters: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the lengths of the tile that a descriptor brings, in names of the kernel; None where they are not known.

    Args:
        made: the expression that makes the descriptor.
        parameters: constexpr parameters of the kernel, by what the launch passes for them.
    """
    if not isinstance(made, cst.Call) or syntax.called(made) not in MAKERS:
        return None
    position, before = MAKERS[syntax.called(made)]
    lengths = syntax.argument(made, position, "block_shape")
    elements = syntax.expressions(lengths.value) if lengths is not None else None
    if elements is None:
        return None
    texts = [syntax.code(element) for element in elements]
    if any(word not in parameters for text in texts for word in re.findall(r"[A-Za-z_]\w*", text)):
        return None
    return *before, *(re.sub(r"[A-Za-z_]\w*", lambda word: parameters[word.group()], text) for text in texts)
