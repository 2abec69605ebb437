"""Add a bias to every row and apply ReLU.

{kind: bias and activation, style: heuristics, dtype: float16, small: [{rows: 9, cols: 128}, {rows: 5, cols: 200}]}
"""
rows, cols = 4096, 4096


def inputs():
    return [torch.randn(rows, cols), torch.randn(cols)]


def reference(x, bias):
    return torch.relu(x + bias)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.heuristics({
    "BLOCK": lambda args: min(triton.next_power_of_2(args["cols"]), 1024),
    "EVEN": lambda args: args["cols"] % min(triton.next_power_of_2(args["cols"]), 1024) == 0,
})
@triton.jit
def bias_relu(x, bias, y, cols, BLOCK: tl.constexpr, EVEN: tl.constexpr):
    row = tl.program_id(0)
    col = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    if EVEN:
        a = tl.load(x + row * cols + col)
        b = tl.load(bias + col)
    else:
        a = tl.load(x + row * cols + col, mask=col < cols)
        b = tl.load(bias + col, mask=col < cols)
    total = a.to(tl.float32) + b.to(tl.float32)
    out = tl.where(total > 0, total, 0.0)
    if EVEN:
        tl.store(y + row * cols + col, out)
    else:
        tl.store(y + row * cols + col, out, mask=col < cols)


def kernel_function(x, bias):
    rows, cols = x.shape
    y = torch.empty_like(x)
    bias_relu[lambda meta: (rows, triton.cdiv(cols, meta["BLOCK"]))](x, bias, y, cols)
    return y
