"""Measure in PTX whether a transformation took effect: each measure rises where it did.

A change of source that the compiler undoes or ignores is a silent no-op.  Tests compile kernels before and after each
transformation that names a measure.
"""

from __future__ import annotations

import re

LABEL = re.compile(r"^(\$\w+):", re.MULTILINE)
BRANCH = re.compile(r"\bbra(?:\.uni)?\s+(\$\w+)")


def wide_load_share(ptx: str) -> float:
    """Return the share of global loads that take 8 bytes and more, 0 to 1."""
    loads = re.findall(r"\bld\.global\S*", ptx) + re.findall(r"\bcp\.async\.c[ag]\S*", ptx)
    wide = [load for load in loads if re.search(r"\.v[248]\.b(32|64)|\.b64|cp\.async", load)]
    return len(wide) / len(loads) if loads else 0.0


def widest_product(ptx: str) -> float:
    """Return the width of the widest matrix instruction; 0 where there is none."""
    return max((int(n) for n in re.findall(r"wgmma\.mma_async\S*\.m64n(\d+)k", ptx)), default=0)


def asynchronous_copies(ptx: str) -> float:
    """Count the copies from global to shared memory that run beside the computation."""
    return len(re.findall(r"\bcp\.async\.c[ag]\.shared\.global", ptx)) + len(
        re.findall(r"cp\.async\.bulk\.tensor", ptx)
    )


def stores_in_loops(ptx: str) -> float:
    """Count the global stores inside of loops."""
    labels = {match.group(1): match.start() for match in LABEL.finditer(ptx)}
    loops = [
        (labels[match.group(1)], match.start())
        for match in BRANCH.finditer(ptx)
        if labels.get(match.group(1), len(ptx)) < match.start()
    ]
    stores = [match.start() for match in re.finditer(r"\bst\.global", ptx)]
    return sum(any(first < place < last for first, last in loops) for place in stores)


def tensor_copies(ptx: str) -> float:
    """Count the copies of whole tiles between global and shared memory by tensor descriptors (TMA)."""
    return len(re.findall(r"cp\.async\.bulk\.tensor", ptx))


def barriers(ptx: str) -> float:
    """Count the barriers between the warps of a program, of which each exchange through shared memory takes some."""
    return len(re.findall(r"\bbar\.sync|\bbarrier\.sync", ptx))


def matrix_instructions(ptx: str) -> float:
    """Count the matrix instructions."""
    return len(re.findall(r"\bwgmma\.mma_async|\bmma\.sync", ptx))


def without_divisions(ptx: str) -> float:
    """Return the count of divisions of floating-point numbers, negative, so that fewer of them rank higher."""
    return -float(len(re.findall(r"\bdiv\.\w+\.f32", ptx)))


def remainders(ptx: str) -> float:
    """Count the remainders of integer divisions."""
    return len(re.findall(r"\brem\.[su]\d+", ptx))


def warp_group_products(ptx: str) -> float:
    """Return the share of the matrix instructions that are those of a whole warp group (wgmma), 0 to 1."""
    groups, warps = len(re.findall(r"\bwgmma\.mma_async", ptx)), len(re.findall(r"\bmma\.sync", ptx))
    return groups / (groups + warps) if groups + warps else 0.0


def without_accesses(ptx: str) -> float:
    """Return the count of global loads and stores, negative, so that fewer of them rank higher."""
    return -float(len(re.findall(r"\b(?:ld|st)\.global|\bcp\.async\.c[ag]\.shared\.global", ptx)))


def without_products(ptx: str) -> float:
    """Return the count of multiplications and additions of single numbers, negative, so that fewer rank higher."""
    return -float(len(re.findall(r"\b(?:fma|mul|add)(?:\.rn)?(?:\.ftz)?\.f32", ptx)))
