"""What nothing uses is removed from a kernel's module, and nothing else."""

import pytest

from kopt.simplify.dead_code import without_dead_code
from tests.device.small import SOURCE


def removed(*changes):
    source = SOURCE
    for old, new in changes:
        assert old in source
        source = source.replace(old, new)
    return without_dead_code(source, "kernel_function")


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ([("factor, BLOCK: tl", "factor, rest, BLOCK: tl"), ("factor, BLOCK=", "factor, 7, BLOCK=")], "parameter rest"),
        ([("BLOCK: tl.constexpr", "BLOCK: tl.constexpr, N: tl.constexpr"), ("BLOCK=512", "BLOCK=512, N=3")], "N of"),
        ([("    mask = off", "    unused = tl.zeros((4,), tl.int32)\n    mask = off")], "variable unused"),
        ([("\n\ndef kernel_function", "\n\ndef helper(x):\n    return x\n\n\ndef kernel_function")], "function helper"),
        ([("import torch\n", "import math\nimport torch\n")], "import math"),
        ([("import torch\n", "from math import ceil as up\nimport torch\n")], "import up"),
    ],
)
def test_unused_parts_are_removed(changes, what):
    text, names = removed(*changes)
    assert text == SOURCE
    assert what in names[0]


def test_what_is_used_only_by_what_goes_goes_too():
    text, names = removed(
        ("factor, BLOCK: tl", "factor, rest, BLOCK: tl"), ("factor, BLOCK=", "factor, rest, BLOCK="),
        ("    y = torch", "    rest = 3 * rows\n    y = torch"),
    )  # fmt: skip
    assert text == SOURCE
    assert [name.split()[0] for name in names] == ["parameter", "variable"]


@pytest.mark.parametrize(
    "change",
    [
        ("    y = torch", "    done = x.zero_()\n    y = torch"),
        ("    tl.store(", "    old = tl.atomic_add(y_ptr, 1)\n    tl.store("),
        ("    return y", "    again = scale_kernel[(1,)](x, weight, y, columns, factor, BLOCK=512)\n    return y"),
        (
            "    return y",
            "    args = {}\n    scale_kernel[(1,)](x, weight, y, columns, factor, BLOCK=8, **args)\n    return y",
        ),
        ("import torch\n", "from __future__ import annotations\nimport torch\n"),
    ],
)
def test_what_has_an_effect_or_cannot_be_seen_through_stays(change):
    old, new = change
    assert without_dead_code(SOURCE.replace(old, new), "kernel_function") == (SOURCE.replace(old, new), [])


def test_a_parameter_that_an_autotuner_names_stays():
    tuned = SOURCE.replace("@triton.jit", '@triton.autotune(configs=[], key=["rest"])\n@triton.jit')
    tuned = tuned.replace("factor, BLOCK: tl", "factor, rest, BLOCK: tl").replace("factor, BLOCK=", "factor, 7, BLOCK=")
    assert without_dead_code(tuned, "kernel_function") == (tuned, [])


def test_no_python_is_left_alone():
    assert without_dead_code("def (", "kernel_function") == ("def (", [])
