"""Return the sum of squares of all elements as a scalar.

{kind: norm, style: atomic addition after a hook that zeroes, dtype: float32, small: [{rows: 9, cols: 100}, {rows: 7, cols: 301}]}
"""
rows, cols = 2048, 2048


def inputs():
    return [torch.randn(rows, cols)]


def reference(x):
    return (x * x).sum()


# --- kernel ---
import torch
import triton
import triton.language as tl


def clear(arguments):
    arguments["out_ptr"].zero_()


CONFIGS = [triton.Config({"BLOCK": block}, num_warps=4, pre_hook=clear) for block in (128, 256)]


@triton.autotune(configs=CONFIGS, key=["n"])
@triton.jit
def squares(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < n, other=0.0)
    tl.atomic_add(out_ptr, tl.sum(x * x), sem="relaxed")


def kernel_function(x):
    out = torch.zeros((), dtype=x.dtype, device=x.device)
    squares[lambda meta: (triton.cdiv(x.numel(), meta["BLOCK"]),)](x, out, x.numel())
    return out
