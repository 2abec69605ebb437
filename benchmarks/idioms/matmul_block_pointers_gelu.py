"""Multiply by a weight, add a bias, apply GELU.

{kind: linear layer with activation, style: block pointers and an epilogue by name, dtype: bfloat16, small: [{M: 24, N: 40, K: 72}, {M: 19, N: 48, K: 40}]}
"""
M, N, K = 1024, 2048, 1024


def inputs():
    return [torch.randn(M, K)]


class Model(nn.Module):
    def __init__(self, K, N):
        super().__init__()
        self.proj = nn.Linear(K, N)

    def forward(self, x):
        return F.gelu(self.proj(x))


def get_init_inputs():
    return [K, N]


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def erf_gelu(x):
    return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865475))


@triton.jit
def linear(x_ptr, w_ptr, b_ptr, y_ptr, M, N, K, ACTIVATION: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    pid_m, pid_n = tl.program_id(0), tl.program_id(1)
    x_block = tl.make_block_ptr(x_ptr, (M, K), (K, 1), (pid_m * BM, 0), (BM, BK), (1, 0))
    w_block = tl.make_block_ptr(w_ptr, (K, N), (1, K), (0, pid_n * BN), (BK, BN), (0, 1))
    acc = tl.zeros((BM, BN), tl.float32)
    for k in range(0, K, BK):
        x = tl.load(x_block, boundary_check=(0, 1), padding_option="zero")
        w = tl.load(w_block, boundary_check=(0, 1), padding_option="zero")
        acc += tl.dot(x, w)
        x_block = tl.advance(x_block, (0, BK))
        w_block = tl.advance(w_block, (BK, 0))
    n = pid_n * BN + tl.arange(0, BN)
    acc += tl.load(b_ptr + n, mask=n < N, other=0.0)[None, :]
    if ACTIVATION == "gelu":
        acc = erf_gelu(acc)
    y_block = tl.make_block_ptr(y_ptr, (M, N), (N, 1), (pid_m * BM, pid_n * BN), (BM, BN), (1, 0))
    tl.store(y_block, acc.to(y_ptr.dtype.element_ty), boundary_check=(0, 1))


def kernel_function(x, proj_weight, proj_bias):
    M, K = x.shape
    N = proj_weight.shape[0]
    y = torch.empty((M, N), dtype=x.dtype, device=x.device)
    grid = (triton.cdiv(M, 16), triton.cdiv(N, 32))
    linear[grid](x, proj_weight, proj_bias, y, M, N, K, ACTIVATION="gelu", BM=16, BN=32, BK=32)
    return y
