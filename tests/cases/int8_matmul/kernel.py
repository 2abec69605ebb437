import torch
import triton
import triton.language as tl


@triton.jit
def w8_kernel(x_ptr, w_ptr, s_ptr, y_ptr, M, N, K, sxm, swn, sym, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    pm = tl.program_id(0)
    pn = tl.program_id(1)
    rm = pm * BM + tl.arange(0, BM)
    rn = pn * BN + tl.arange(0, BN)
    rk = tl.arange(0, BK)
    acc = tl.zeros((BM, BN), tl.float32)
    for k in range(0, K, BK):
        x = tl.load(
            x_ptr + rm[:, None] * sxm + k + rk[None, :], mask=(rm[:, None] < M) & (k + rk[None, :] < K), other=0.0
        )
        w = tl.load(
            w_ptr + rn[None, :] * swn + k + rk[:, None], mask=(rn[None, :] < N) & (k + rk[:, None] < K), other=0
        )
        acc += tl.dot(x, w.to(x.dtype))
    s = tl.load(s_ptr + rn, mask=rn < N, other=0.0).to(tl.float32)
    acc = acc * s[None, :]
    tl.store(
        y_ptr + rm[:, None] * sym + rn[None, :],
        acc.to(y_ptr.dtype.element_ty),
        mask=(rm[:, None] < M) & (rn[None, :] < N),
    )


def kernel_function(x, w, scale):
    M, K = x.shape
    N = w.shape[0]
    y = torch.empty((M, N), dtype=x.dtype, device=x.device)
    BM, BN, BK = 32, 64, 64
    w8_kernel[(triton.cdiv(M, BM), triton.cdiv(N, BN))](
        x, w, scale, y, M, N, K, x.stride(0), w.stride(0), y.stride(0), BM=BM, BN=BN, BK=BK, num_warps=4
    )
    return y
