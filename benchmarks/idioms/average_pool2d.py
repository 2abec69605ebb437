"""Average windows of images, counting padding.

{kind: average pooling, style: window sizes as constexpr, dtype: float32, small: [{P: 5, H: 9, W: 20}, {P: 3, H: 11, W: 37}]}
"""
P, H, W = 512, 64, 64


def inputs():
    return [torch.randn(1, P, H, W)]


def reference(x):
    return F.avg_pool2d(x, 3, stride=2, padding=1)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def average_pool(x_ptr, y_ptr, total, H, W, OH, OW, K: tl.constexpr, S: tl.constexpr, PAD: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ow = at % OW
    oh = at // OW % OH
    plane = at // (OW * OH)
    acc = tl.zeros((BLOCK,), tl.float32)
    for i in tl.static_range(K):
        for j in tl.static_range(K):
            h, w = oh * S - PAD + i, ow * S - PAD + j
            inside = (at < total) & (h >= 0) & (h < H) & (w >= 0) & (w < W)
            acc += tl.load(x_ptr + (plane * H + h) * W + w, mask=inside, other=0.0)
    tl.store(y_ptr + at, acc / (K * K), mask=at < total)


def kernel_function(x):
    B, P, H, W = x.shape
    OH, OW = (H - 1) // 2 + 1, (W - 1) // 2 + 1
    y = torch.empty((B, P, OH, OW), dtype=x.dtype, device=x.device)
    total = y.numel()
    average_pool[(triton.cdiv(total, 64),)](x, y, total, H, W, OH, OW, K=3, S=2, PAD=1, BLOCK=64)
    return y
