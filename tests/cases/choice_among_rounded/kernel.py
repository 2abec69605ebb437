import torch
import triton
import triton.language as tl


@triton.jit
def route(x_ptr, g_ptr, e_ptr, T, E, BT: tl.constexpr, BE: tl.constexpr):
    t = tl.program_id(0) * BT + tl.arange(0, BT)
    e = tl.arange(0, BE)
    x = tl.load(x_ptr + t[:, None] * E + e[None, :], mask=(t < T)[:, None] & (e < E)[None, :], other=float("-inf"))
    m, arg = tl.max(x, 1, return_indices=True)
    p = 1.0 / tl.sum(tl.exp(x - m[:, None]), 1)
    tl.store(g_ptr + t, p, mask=t < T)
    tl.store(e_ptr + t, arg.to(tl.int64), mask=t < T)


@triton.jit
def position(e_ptr, p_ptr, c_ptr, T, BLOCK: tl.constexpr):
    mine = tl.program_id(0)
    total = 0
    for k in range(0, T, BLOCK):
        t = k + tl.arange(0, BLOCK)
        here = (tl.load(e_ptr + t, mask=t < T, other=-1) == mine).to(tl.int32)
        at = tl.cumsum(here, 0) - here + total
        tl.store(p_ptr + t, at.to(tl.int64), mask=here != 0)
        total += tl.sum(here, 0)
    tl.store(c_ptr + mine, total.to(tl.int64))


def kernel_function(logits):
    T, E = logits.shape
    g = torch.empty(T, dtype=torch.float32, device=logits.device)
    e = torch.empty(T, dtype=torch.int64, device=logits.device)
    p = torch.empty_like(e)
    c = torch.empty(E, dtype=torch.int64, device=logits.device)
    route[(triton.cdiv(T, 32),)](logits, g, e, T, E, BT=32, BE=triton.next_power_of_2(E))
    position[(E,)](e, p, c, T, BLOCK=256)
    return g, e, p, c
