"""Split a fused projection into queries, keys and values, each with heads before tokens.

{kind: split, style: three outputs of one pass, dtype: float16, small: [{T: 9, H: 3, D: 8}, {T: 7, H: 2, D: 24}]}
"""
T, H, D = 1024, 16, 64


def inputs():
    return [torch.randn(T, 3 * H * D)]


def reference(x):
    q, k, v = x.view(x.shape[0], 3, H, D).permute(1, 2, 0, 3).contiguous().unbind(0)
    return q, k, v


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def split_heads(x_ptr, q_ptr, k_ptr, v_ptr, T, H, D, BLOCK: tl.constexpr):
    t, h = tl.program_id(0), tl.program_id(1)
    d = tl.arange(0, BLOCK)
    source = x_ptr + t * 3 * H * D + h * D + d
    target = (h * T + t) * D + d
    tl.store(q_ptr + target, tl.load(source, mask=d < D), mask=d < D)
    tl.store(k_ptr + target, tl.load(source + H * D, mask=d < D), mask=d < D)
    tl.store(v_ptr + target, tl.load(source + 2 * H * D, mask=d < D), mask=d < D)


def kernel_function(x, *, H, D):
    T = x.shape[0]
    q, k, v = (torch.empty((H, T, D), dtype=x.dtype, device=x.device) for _ in range(3))
    split_heads[(T, H)](x, q, k, v, T, H, D, BLOCK=triton.next_power_of_2(D))
    return q, k, v
