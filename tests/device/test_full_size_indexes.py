"""What the walk sees of a compiled kernel is what its index expression says, by NumPy."""

import importlib.util
import re

import numpy as np
import pytest
from recorded import built, h100

from kopt.estimate.full_size.launch_use import launch_use
from kopt.estimate.full_size.pieces import distinct_bytes
from kopt.estimate.full_size.work_shares import undone_work
from kopt.estimate.instructions import parse
from kopt.estimate.kernel_time import estimate
from kopt.model.build import Launch, Phase
from kopt.model.problem import ProblemFacts, TensorSpec, WorkloadFacts

triton = pytest.importorskip("triton")

SOURCE = """
import triton
import triton.language as tl

@triton.jit
def kernel(x, y, n, S, T, B: tl.constexpr):
    p = tl.program_id(0){wide}
    j = tl.arange(0, B)
    total = tl.zeros([B], tl.float32)
    for i in range({loop}):
        total += tl.load(x + ({index}), ({mask}) & (j >= 0), other=0.0)
    tl.store(y + tl.program_id(0) * B + j, total)
"""
SCALARS = {"n": 1000, "S": 37, "T": 11}
PLACES = {"x": "input 0", "y": "allocation 0"}


class InNumpy:
    """Functions of `tl` that the expressions use."""

    minimum, maximum, where = np.minimum, np.maximum, np.where


def launch_of(folder, index, mask, loop, grid, block, wide) -> tuple[Launch, str]:
    """Compile the kernel for sm_90; return a launch of it and its PTX."""
    source = SOURCE.format(index=index, mask=mask, loop=loop, wide=".to(tl.int64)" if wide else "")
    signature = {"x": "*fp32", "y": "*fp32", "n": "i32", "S": "i32", "T": "i32", "B": "constexpr"}
    return compiled(folder, source, signature, {"B": block}, SCALARS, grid)


def compiled(folder, text, signature, constants, scalars, grid) -> tuple[Launch, str]:
    """Compile a kernel for sm_90; return a launch of it, and its PTX."""
    path = folder / "indexes.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location("indexes", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    pointers = {name: place for name, place in PLACES.items() if name in signature}
    names = list(signature)
    source = triton.compiler.ASTSource(
        module.kernel, signature, {(names.index(name),): value for name, value in constants.items()},
        {(names.index(name),): [["tt.divisibility", 16]] for name in pointers},
    )  # fmt: skip
    target = triton.backends.compiler.GPUTarget("cuda", 90, 32)
    made = triton.compile(source, target=target, options={"num_warps": 4})
    launch = Launch(
        kernel="kernel", grid=(grid, 1, 1), num_warps=4, num_stages=3, num_ctas=1, shared_bytes=0, registers=32,
        spills=0, signature=tuple(signature.items()),
        constants=tuple((name, str(value)) for name, value in constants.items()),
        arguments=(*((name, "float32[1]") for name in pointers), *((name, str(v)) for name, v in scalars.items())),
        pointers=tuple(pointers.items()), ptx="ptx",
    )  # fmt: skip
    return launch, made.asm["ptx"]


def elements(index, mask, loop, grid, block) -> np.ndarray:
    """The elements that the kernel must read."""
    trips = eval(loop, {}, SCALARS)
    p, i, j = (axis.astype(np.int64) for axis in np.ogrid[:grid, :trips, :block])
    names = {"p": p, "i": i, "j": j, "B": block, "tl": InNumpy, **SCALARS}
    at = np.broadcast_to(eval(index, names), (grid, trips, block))
    return np.unique(at[np.broadcast_to(eval(mask, names), at.shape)])


# A tile of one row of an image of 30 x 34, padded by one, and the taps of a 3 x 3 filter
ROW, COLUMN = "(p + {kh} - 1)", "(j + {kw} - 1)"
TAP = f"({ROW} * 34 + {COLUMN})"
INSIDE = f"({ROW} >= 0) & ({ROW} < 30) & ({COLUMN} >= 0) & ({COLUMN} < 34)"


def filter_tap(kh: str, kw: str, channel: str = "0") -> tuple[str, str]:
    return f"{channel} * 1020 + {TAP}".format(kh=kh, kw=kw), INSIDE.format(kh=kh, kw=kw)


Case = tuple[str, str, str, int, int, bool]
"""Index, mask, trips of the loop, programs, elements of a block, 64-bit arithmetic."""

CASES: dict[str, Case] = {
    "wraps, power of two": ("(j + i*B + p*131072) % 32768", "j >= 0", "40", 20, 256, False),
    "wraps inside a block": ("(j + i*B + p*131072) % 30000", "j >= 0", "120", 20, 256, False),
    "wraps, 64 bits": ("(j + i*B + p*131072) % 30000", "j >= 0", "40", 20, 256, True),
    "divided, 64 bits": ("(j + i*B + p*131072) // 7", "j >= 0", "40", 20, 256, True),
    "wraps at a size": ("(j + p*B) % n", "j >= 0", "1", 20, 256, False),
    "bits": ("((i*B + j) & 1023) + ((p ^ 5) << 12) + ((i >> 2) & 3) * 2048", "j >= 0", "40", 20, 256, False),
    "taps of a constant filter": (*filter_tap("i // 3", "i % 3"), "9", 30, 64, False),
    "taps and channels": (*filter_tap("(i % 9 // 3)", "(i % 3)", "(i // 9)"), "144", 30, 64, False),
    "channels first": (*filter_tap("(i // 3 % 3)", "(i % 3)", "(i // 3 // 3)"), "144", 30, 64, False),
    "counter by sizes": ("(i // T) * 1000 + (i % T) * 64 + p * 5 + j", "j < 64", "S * T", 20, 64, False),
    "long counter": ("((p*3000 + i) // n) * 65536 + ((p*3000 + i) % n) * 64 + j", "j < 64", "3 * n", 3, 64, False),
    "clamped at the end": ("tl.minimum(j + i*B + p*131072, 500000)", "j >= 0", "40", 20, 128, False),
    "clamped at both": ("tl.minimum(tl.maximum(i*B + j - 300, 0), n - 1) + p * n", "j >= 0", "3 * S", 20, 64, False),
    "masked early": ("i*B + j + p*100000", "i*B + j < n", "20 * n", 3, 64, False),
    "there and back": ("tl.where(i < 20, i, 39 - i) * B + j + p*B*20", "j >= 0", "40", 20, 256, False),
    "batches inside a block": ("((p*B+j) // 196) * 9000 + (p*B+j) % 196", "p*B + j < 784", "1", 13, 64, False),
    "every third left out": ("p*B*S*9 + i*B + j", "i % 3 != 0", "9 * S", 2, 64, False),
    "inner threads alone": ("p*B + j", "(j > 20) & (j < 24)", "1", 40, 256, False),
    "other steps by thread": ("i * j + p * 2 * n", "j >= 0", "n", 5, 64, False),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_read_is_what_the_index_says(name, tmp_path):
    index, mask, loop, grid, block, wide = CASES[name]
    launch, ptx = launch_of(tmp_path, index, mask, loop, grid, block, wide)
    use = launch_use(parse(ptx), launch, {})
    at = elements(index, mask, loop, grid, block)
    low, high = 4 * int(at.min()), 4 * int(at.max()) + 4
    assert use.certain
    assert not use.unknown
    assert use.bounds[0][0] >= low  # nothing outside is claimed,
    assert use.bounds[0][1] <= high
    assert use.bounds[0][1] >= high - 4 * block  # and what is outside is seen
    assert distinct_bytes([use.read[0]], high) == pytest.approx(4 * len(at), rel=0.02)


def verdict(folder, case: Case, size: int):
    """The verdict on what is read of an input of so many elements."""
    index, mask, loop, grid, block, wide = case
    launch, ptx = launch_of(folder, index, mask, loop, grid, block, wide)
    facts = WorkloadFacts(
        workload="main", eager_ops=(),
        inputs=(TensorSpec(name="x", shape=(size,), dtype="float32", place="input 0"),),
        outputs=(TensorSpec(name="output", shape=(grid * block,), dtype="float32"),),
    )  # fmt: skip
    estimated = estimate(built(launch), ProblemFacts(dtype="float32", workloads=(facts,)), h100(), lambda _: ptx)
    return undone_work(estimated, None, "j")


LESS = {"wraps inside a block": "1", "taps and channels": "72", "clamped at both": "S - 30", "wraps, 64 bits": "2"}
"""Fewer trips of the loop, with which much of the input is not read."""


@pytest.mark.parametrize("name", LESS)
def test_an_honest_kernel_passes_but_not_where_it_leaves_its_tensor_or_leaves_work_out(name, tmp_path):
    index, mask, loop, grid, block, wide = CASES[name]
    size = int(elements(index, mask, loop, grid, block).max()) + 1
    assert verdict(tmp_path, CASES[name], size) is None
    outside = verdict(tmp_path, CASES[name], size - block)
    assert outside is not None
    assert outside.phase is Phase.LAUNCH
    assert re.search(r"\d+ bytes behind the end", outside.reason)
    assert len(elements(index, mask, LESS[name], grid, block)) < 0.85 * size
    less = verdict(tmp_path, (index, mask, LESS[name], grid, block, wide), size)
    assert less is not None
    assert less.phase is Phase.ROOFLINE


# A block of positions of several images, written plane by plane: where it crosses from one image to the next, its tile
# breaks at a place that few threads do not tell.
PLANES = """
import triton
import triton.language as tl

@triton.jit
def kernel(y, total, kept, P: tl.constexpr, C: tl.constexpr, B: tl.constexpr):
    j = tl.program_id(0) * B + tl.arange(0, B)[:, None]
    c = tl.arange(0, C)[None, :]
    tl.store(y + (j // P) * (C * P) + c * P + j % P, 1.0 + tl.zeros([B, C], tl.float32), (j < total) & (c < kept))
"""
IMAGES, PLANE, CHANNELS, POSITIONS = 64, 784, 64, 128


def verdict_on_planes(folder, kept: int):
    """The verdict on a kernel that writes so many of the planes of each image."""
    total = IMAGES * PLANE
    constants = {"P": PLANE, "C": CHANNELS, "B": POSITIONS}
    signature = {"y": "*fp32", "total": "i32", "kept": "i32", **dict.fromkeys(constants, "constexpr")}
    launch, ptx = compiled(folder, PLANES, signature, constants, {"total": total, "kept": kept}, -(-total // POSITIONS))
    output = TensorSpec(name="output", shape=(IMAGES, CHANNELS, PLANE), dtype="float32")
    workload = WorkloadFacts(workload="main", eager_ops=(), inputs=(), outputs=(output,))
    facts = ProblemFacts(dtype="float32", workloads=(workload,))
    build = built(launch)
    traced = build.workloads[0].model_copy(update={"output": "allocation 0 float32[64,64,784][50176,784,1]"})
    build = build.model_copy(update={"workloads": (traced,)})
    return undone_work(estimate(build, facts, h100(), lambda _: ptx), None, "j")


def test_an_output_is_written_whole_by_tiles_of_many_shapes_and_not_where_planes_are_left_out(tmp_path):
    assert verdict_on_planes(tmp_path, CHANNELS) is None
    failed = verdict_on_planes(tmp_path, CHANNELS - 8)
    assert failed is not None
    assert "of output written" in failed.reason
