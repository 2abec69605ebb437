"""Give guidance for writing Triton, by version: what language models most often get wrong."""

from __future__ import annotations

RULES: tuple[tuple[tuple[int, int], str], ...] = (
    (
        (3, 0),
        "Block sizes of tl.arange are powers of two and tl.constexpr; mask whatever the shape does not divide.",
    ),
    (
        (3, 0),
        "Offsets beyond 2**31 elements need int64: cast tl.program_id with .to(tl.int64) before multiplying "
        "by a stride.",
    ),
    (
        (3, 0),
        "Accumulate in tl.float32 and cast once before tl.store; tl.dot takes low-precision operands as they "
        "are and an fp32 accumulator as its third argument.",
    ),
    (
        (3, 0),
        "tl.dot needs each of M, N, K to be at least 16; a product with a vector is a multiply and tl.sum instead.",
    ),
    (
        (3, 0),
        "num_warps is 1, 2, 4, 8, 16 or 32; num_stages pipelines loops over loads (2 to 5 on Hopper, as "
        "shared memory allows).",
    ),
    (
        (3, 0),
        "tl.multiple_of and tl.max_contiguous widen loads where divisibility is known; so do contiguous inner offsets.",
    ),
    (
        (3, 0),
        "Arguments that are equal to 1 or divisible by 16 are specialised by the compiler; pass strides as arguments.",
    ),
    (
        (3, 0),
        "triton.cdiv on the host, tl.cdiv in kernels; grids may be tuples or functions of the meta-parameters.",
    ),
    (
        (3, 0),
        "eviction_policy='evict_first' suits data that is read once, 'evict_last' data that is reused.",
    ),
    (
        (3, 0),
        "@triton.autotune takes triton.Config entries and a key of argument names; keep it to a few "
        "configurations, each of which must be right: parameters that the kernel accumulates into need "
        "reset_to_zero.",
    ),
    (
        (3, 0),
        "There is no tl.syncthreads, no shared-memory allocation and no break or return inside a loop of a kernel.",
    ),
    (
        (3, 0),
        "Atomics (tl.atomic_add) need a zeroed output and change the order of sums; split-K with a second "
        "kernel does not.",
    ),
    (
        (3, 2),
        "tl.range(lo, hi, num_stages=..., loop_unroll_factor=...) pipelines and unrolls one loop; "
        "tl.static_range unrolls fully.",
    ),
    (
        (3, 2),
        "A persistent kernel whose pipeline must not drain between tiles: one range over tiles x steps, with counters "
        "of their own for loads and for products, and the accumulator reset under an if. On Hopper this measured "
        "faster than tl.range(..., flatten=True).",
    ),
    (
        (3, 2),
        "A loop without tl.dot is pipelined only if its tl.range says num_stages: programs that walk over rows load "
        "the next row that way while they compute this one.",
    ),
    (
        (3, 2),
        "On Hopper one product of width 256 beats two of width 128: put operands that meet the same left side next to "
        "each other, with pointers chosen by lane, and split the accumulator after the loop.",
    ),
    (
        (3, 3),
        "TMA: tl.make_tensor_descriptor(ptr, shape, strides, block_shape) in the kernel, then "
        "descriptor.load([m, k]) and descriptor.store; it needs triton.set_allocator on the host, contiguous "
        "last dimension, 16-byte strides.",
    ),
    (
        (3, 3),
        "tl.range(..., warp_specialize=True) is for Blackwell. On Hopper (seen with 3.6) it is ignored unless "
        "descriptors are made in the kernel, num_warps is 4 and the loop is an ordinary inner one; with two products "
        "in the loop its results are wrong. Rely on num_stages, and on num_warps of 8 for large tiles.",
    ),
    (
        (3, 4),
        "triton.tools.tensor_descriptor.TensorDescriptor.from_tensor makes a TMA descriptor on the host, "
        "without an allocator.",
    ),
    (
        (3, 6),
        "tl.make_block_ptr is old: prefer descriptors, or plain pointers.",
    ),
)
"""Rules, each with the first version of Triton for which it holds."""


def triton_guidance(version: str) -> str:
    """List the rules that hold for an installed version of Triton, one a line, newest features last."""
    installed = _version(version)
    return "\n".join(f"- {rule}" for since, rule in RULES if since <= installed)


def _version(text: str) -> tuple[int, int]:
    parts = [int(part) for part in text.split("+")[0].split(".")[:2] if part.isdigit()]
    return (parts[0], parts[1]) if len(parts) == 2 else (3, 0)
