import torch
import triton
import triton.language as tl


@triton.jit
def decode(q, k, v, n, o, T, scale, KV: tl.constexpr, REP: tl.constexpr, D: tl.constexpr, BT: tl.constexpr):
    b = tl.program_id(0)
    g = tl.program_id(1)
    r = tl.arange(0, 16)
    d = tl.arange(0, D)
    length = tl.load(n + b)
    rows = (b * KV * REP + g * REP + r)[:, None] * D + d[None, :]
    qq = tl.load(q + rows, mask=(r < REP)[:, None], other=0.0)
    m = tl.full((16,), -1e30, tl.float32)
    s = tl.zeros((16,), tl.float32)
    acc = tl.zeros((16, D), tl.float32)
    for start in range(0, T, BT):
        t = start + tl.arange(0, BT)
        at = ((b * T + t) * KV + g)[:, None] * D + d[None, :]
        ok = t < length
        kk = tl.load(k + at, mask=ok[:, None], other=0.0)
        vv = tl.load(v + at, mask=ok[:, None], other=0.0)
        x = tl.dot(qq, tl.trans(kk)) * scale
        x = tl.where(ok[None, :], x, float("-inf"))
        new = tl.maximum(m, tl.max(x, 1))
        p = tl.exp(x - new[:, None])
        kept = tl.exp(m - new)
        s = s * kept + tl.sum(p, 1)
        acc = acc * kept[:, None] + tl.dot(p.to(tl.bfloat16), vv)
        m = new
    tl.store(o + rows, (acc / s[:, None]).to(tl.bfloat16), mask=(r < REP)[:, None])


def kernel_function(q, k_cache, v_cache, lengths):
    B, H, D = q.shape
    T, KV = k_cache.shape[1], k_cache.shape[2]
    out = torch.empty_like(q)
    decode[(B, KV)](q, k_cache, v_cache, lengths, out, T, D**-0.5, KV, H // KV, D, 64)
    return out
