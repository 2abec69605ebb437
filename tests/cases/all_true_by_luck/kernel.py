import torch
import triton
import triton.language as tl


@triton.jit
def nms(b_ptr, k_ptr, N, BLOCK: tl.constexpr):
    z = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    ok = at < N
    base = b_ptr + (z * N + at) * 4
    x1 = tl.load(base, mask=ok, other=0.0)
    y1 = tl.load(base + 1, mask=ok, other=0.0)
    x2 = tl.load(base + 2, mask=ok, other=0.0)
    y2 = tl.load(base + 3, mask=ok, other=0.0)
    area = (x2 - x1) * (y2 - y1)
    keep = tl.full([BLOCK], 1, tl.int32)
    for i in range(0, N):
        if tl.sum(tl.where(at == i, keep, 0), 0) != 0:
            bi = b_ptr + (z * N + i) * 4
            a1 = tl.load(bi)
            c1 = tl.load(bi + 1)
            a2 = tl.load(bi + 2)
            c2 = tl.load(bi + 3)
            w = tl.maximum(tl.minimum(x2, a2) - tl.maximum(x1, a1), 0.0)
            h = tl.maximum(tl.minimum(y2, c2) - tl.maximum(y1, c1), 0.0)
            inter = w * h
            iou = inter / ((a2 - a1) * (c2 - c1) + area - inter)
            keep = tl.where((iou > 0.5) & (at > i), 0, keep)
    tl.store(k_ptr + z * N + at, keep != 0, mask=ok)


def kernel_function(boxes):
    B, N, _ = boxes.shape
    k = torch.empty((B, N), dtype=torch.bool, device=boxes.device)
    nms[(B,)](boxes, k, N, BLOCK=triton.next_power_of_2(N))
    return k
