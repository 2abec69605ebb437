"""Describe the structure that draws keep of an input."""

from __future__ import annotations

from kopt.device.draws.structure import Structure


def in_words(structure: Structure, *, whole: bool = False) -> str:
    """Describe a structure in a few words; `whole` for that of integers."""
    if structure.mask:
        return "a mask of two values"
    if structure.kept:
        return "all values as given"
    if structure.constant:
        return "equal elements"
    if whole:
        return "whole numbers in the range of the given ones"
    words = [
        "symmetry" if structure.symmetric else "",
        f"sums to one along dimension {structure.sum_dimension}" if structure.sum_dimension is not None else "",
        f"range {structure.low:.3g} to {structure.high:.3g}"
        if structure.low is not None and structure.high is not None and not structure.uniform
        else {1: "numbers from 0 on" if not structure.uniform else "", -1: "numbers up to 0"}.get(structure.sign, ""),
        "places of zeros" if structure.zeros_kept else "",
        "places of infinities" if structure.infinities_kept else "",
    ]
    return ", ".join(filter(None, words)) or "any numbers"
