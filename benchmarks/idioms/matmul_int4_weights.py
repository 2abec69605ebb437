"""Multiply by 4-bit weights, two in a byte, with scales and zero points of groups.

{kind: int4 matmul, style: nibbles unpacked by shifts, dtype: float16, inputs: {scale: {range: [0, 0.1]}}, small: [{M: 20, N: 24, K: 64}, {M: 17, N: 40, K: 96}]}
"""
M, N, K = 64, 2048, 2048
GROUP = 32


def inputs():
    packed = torch.randint(0, 256, (K // 2, N), dtype=torch.uint8)
    return [torch.randn(M, K), packed, torch.rand(K // GROUP, N) * 0.1, torch.randint(0, 16, (K // GROUP, N), dtype=torch.uint8)]


def reference(x, packed, scale, zero):
    h = x.to(torch.promote_types(x.dtype, torch.float32))
    nibbles = torch.stack((packed & 15, packed >> 4), 1).reshape(packed.shape[0] * 2, packed.shape[1])
    spread = lambda t: t.repeat_interleave(GROUP, 0).to(h.dtype)
    w = ((nibbles.to(h.dtype) - spread(zero)) * spread(scale)).to(x.dtype)
    return (h @ w.to(h.dtype)).to(x.dtype)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def w4_matmul(
    x_ptr, p_ptr, s_ptr, z_ptr, y_ptr, M, N, K, GROUP: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr
):
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    n = tl.program_id(1) * BN + tl.arange(0, BN)
    acc = tl.zeros((BM, BN), tl.float32)
    for start in range(0, K, BK):
        k = start + tl.arange(0, BK)
        live = n[None, :] < N
        x = tl.load(x_ptr + m[:, None] * K + k[None, :], mask=m[:, None] < M, other=0.0)
        byte = tl.load(p_ptr + (k // 2)[:, None] * N + n[None, :], mask=live, other=0)
        nibble = (byte >> ((k % 2) * 4)[:, None].to(tl.uint8)) & 0xF
        scale = tl.load(s_ptr + (k // GROUP)[:, None] * N + n[None, :], mask=live, other=0.0)
        zero = tl.load(z_ptr + (k // GROUP)[:, None] * N + n[None, :], mask=live, other=0)
        w = (nibble.to(tl.float32) - zero.to(tl.float32)) * scale.to(tl.float32)
        acc += tl.dot(x, w.to(x.dtype))
    tl.store(y_ptr + m[:, None] * N + n[None, :], acc, mask=(m[:, None] < M) & (n[None, :] < N))


def kernel_function(x, packed, scale, zero, GROUP):
    (M, K), N = x.shape, packed.shape[1]
    y = torch.empty((M, N), dtype=x.dtype, device=x.device)
    grid = (triton.cdiv(M, 16), triton.cdiv(N, 16))
    w4_matmul[grid](x, packed, scale, zero, y, M, N, K, GROUP=GROUP, BM=16, BN=16, BK=32)
    return y
