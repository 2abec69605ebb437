import torch
import triton
import triton.language as tl


@triton.jit
def divergence(p_ptr, q_ptr, y_ptr, N, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    p = tl.load(p_ptr + row * N + at, mask=at < N, other=1.0)
    q = tl.load(q_ptr + row * N + at, mask=at < N, other=1.0)
    tl.store(y_ptr + row, tl.sum(p * tl.abs(tl.log(p) - tl.log(q))))


def kernel_function(p, q):
    y = torch.empty((p.shape[0],), dtype=p.dtype, device=p.device)
    divergence[(p.shape[0],)](p, q, y, p.shape[1], BLOCK=triton.next_power_of_2(p.shape[1]))
    return y
