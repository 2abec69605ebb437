"""Hint at TF32 where the errors of an output are as small as those of products in TF32."""

from __future__ import annotations

import ast

TF32_HINT = (
    " (errors of this size come from TF32, which tl.dot uses for float32 by default and PyTorch does not: give "
    'tl.dot input_precision="ieee", or "tf32x3")'
)

PRECISION_PLACE = 3
"""Place of `input_precision` among the arguments of `tl.dot`."""


def fitting(reason: str, source: str) -> str:
    """Return the description of an error without a hint that does not fit a kernel's source.

    Args:
        reason: description of the error.
        source: text of the kernel.
    """
    return reason if _may_use_tf32(source) else reason.replace(TF32_HINT, "")


def _may_use_tf32(source: str) -> bool:
    """Return whether a kernel has a product that does not say that it is computed in another precision than TF32."""
    try:
        calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    except (SyntaxError, ValueError, RecursionError):
        calls = []
    products = [call for call in calls if _name(call.func) == "dot"]
    return not all(map(_is_precise, products)) if products else "dot" in source


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _is_precise(product: ast.Call) -> bool:
    """Return whether a call of `dot` asks for another precision than TF32 in so many words."""
    given = {keyword.arg: keyword.value for keyword in product.keywords}
    by_place = product.args[PRECISION_PLACE] if len(product.args) > PRECISION_PLACE else None
    precision = given.get("input_precision", by_place)
    if isinstance(precision, ast.Constant) and precision.value is not None:
        return precision.value != "tf32"
    allowed = given.get("allow_tf32")
    return isinstance(allowed, ast.Constant) and allowed.value is False
