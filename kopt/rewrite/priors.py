"""Guess how numbers bear on a kernel's time before anything was measured, from simple models of the hardware.

Kernels with matrix products follow the model of `product_tiles`: waves, tensor cores, loads.  The time of others is
that of their memory traffic, which is fast where each thread has a few loads of 16 bytes under way, and neither idles
nor spills.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from kopt.rewrite.limits import dimensions, largest_value, option
from kopt.rewrite.source.module import Kernel, Launch, TritonModule
from kopt.rewrite.transformation import RewriteFacts, weight
from kopt.rewrite.transformations.product_tiles import product_model

HELD_BYTES = 48
"""Bytes of the largest tile that a thread should hold: three loads of 16 bytes."""
ACCUMULATED = 96
"""Elements of a product's tile that a thread should hold."""
MISFIT = 0.02
"""Logarithm of time for a factor of two from these figures; it grows with the square of the logarithm."""
TRUST = 0.4
"""How far the model of products is believed: the power to which its times are taken."""

Prior = Callable[[Mapping[str, int]], float]
"""Takes values by name (`kopt.rewrite.tunables`); returns the logarithm of time, of which only differences count."""


def prior(module: TritonModule, facts: RewriteFacts) -> Prior:
    """Return the guess for a source: all of its kernels that are launched in one place."""
    parts = [
        (kernel.name, weight(kernel), _of_kernel(module, kernel, launch, facts))
        for kernel in module.kernels
        if (launch := module.only_launch(kernel)) is not None and not kernel.autotuned
    ]

    def guess(values: Mapping[str, int]) -> float:
        return math.fsum(share * part(_of(name, values)) for name, share, part in parts)

    return guess


def _of(kernel: str, values: Mapping[str, int]) -> dict[str, int]:
    """Choose the values of one kernel, by the names of its constants and options."""
    return {name.removeprefix(f"{kernel}."): value for name, value in values.items() if name.startswith(f"{kernel}.")}


def _of_kernel(module: TritonModule, kernel: Kernel, launch: Launch, facts: RewriteFacts) -> Prior:
    warps = option(launch, "num_warps", 4, module)
    model = product_model(module, kernel, facts)
    if model is not None:

        def product(values: Mapping[str, int]) -> float:
            (m, n, _), time = model(values)
            threads = 32 * values.get("num_warps", warps)
            return TRUST * math.log(time) + _misfit(m * n / threads, ACCUMULATED)

        return product
    constants = dimensions(kernel, launch, module, facts)

    def traffic(values: Mapping[str, int]) -> float:
        elements = largest_value(kernel, constants | {k: v for k, v in values.items() if k in constants})
        threads = 32 * values.get("num_warps", warps)
        return _misfit(elements * facts.item_bytes / threads, HELD_BYTES) if elements else 0.0

    return traffic


def _misfit(value: float, wanted: float) -> float:
    return MISFIT * math.log2(value / wanted) ** 2
