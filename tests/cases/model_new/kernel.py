"""A ModelNew of KernelBench, made on meta tensors with the parameters of the reference."""

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def lin(x, w, b, y, M, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    rm = tl.program_id(0) * BM + tl.arange(0, BM)
    rn = tl.program_id(1) * BN + tl.arange(0, BN)
    acc = tl.zeros((BM, BN), tl.float32)
    for k in range(0, K, BK):
        rk = k + tl.arange(0, BK)
        a = tl.load(x + rm[:, None] * K + rk[None, :], mask=(rm[:, None] < M) & (rk[None, :] < K), other=0.0)
        c = tl.load(w + rn[None, :] * K + rk[:, None], mask=(rn[None, :] < N) & (rk[:, None] < K), other=0.0)
        acc += tl.dot(a, c, input_precision="ieee")
    acc += tl.load(b + rn, mask=rn < N, other=0.0)[None, :]
    acc = tl.maximum(acc, 0.0)
    tl.store(y + rm[:, None] * N + rn[None, :], acc, mask=(rm[:, None] < M) & (rn[None, :] < N))


class ModelNew(nn.Module):
    def __init__(self, n, m):
        super().__init__()
        self.linear = nn.Linear(n, m)

    def forward(self, x):
        x = x.contiguous()
        M, K = x.shape
        N = self.linear.weight.shape[0]
        y = torch.empty((M, N), device=x.device, dtype=x.dtype)
        lin[(triton.cdiv(M, 64), triton.cdiv(N, 64))](
            x, self.linear.weight, self.linear.bias, y, M, N, K, BM=64, BN=64, BK=32
        )
        return y


def kernel_function(x, linear_weight, linear_bias, n, m):
    with torch.device("meta"):
        model = ModelNew(n, m).requires_grad_(False)
    model.load_state_dict({"linear.weight": linear_weight, "linear.bias": linear_bias}, assign=True)
    return model(x)
