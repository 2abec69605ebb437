"""Attention of four-dimensional tensors in one pass over the keys, with running maxima and sums (flash attention)."""

import torch
import triton
import triton.language as tl


@triton.jit
def attention_kernel(
    query_ptr, key_ptr, value_ptr, mask_ptr, output_ptr, HEADS, ROWS, KEYS, scale, stride_qb, stride_qh, stride_qm,
    stride_qd, stride_kb, stride_kh, stride_kn, stride_kd, stride_vb, stride_vh, stride_vn, stride_vd, stride_mb,
    stride_mh, stride_mm, stride_mn, HEAD: tl.constexpr, WIDTH: tl.constexpr, CAUSAL: tl.constexpr,
    MASK: tl.constexpr, PRECISION: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):
    """MASK is 0 for none, 1 for truth values, 2 for numbers that are added; WIDTH is HEAD or more, a power of two."""
    batch, head = tl.program_id(1) // HEADS, tl.program_id(1) % HEADS
    row = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    column = tl.arange(0, WIDTH)
    batch_64, head_64 = batch.to(tl.int64), head.to(tl.int64)
    query = tl.load(
        query_ptr + batch_64 * stride_qb + head_64 * stride_qh + row[:, None] * stride_qm + column[None, :] * stride_qd,
        mask=(row < ROWS)[:, None] & (column < HEAD)[None, :],
        other=0.0,
    )
    key_base = key_ptr + batch_64 * stride_kb + head_64 * stride_kh
    value_base = value_ptr + batch_64 * stride_vb + head_64 * stride_vh
    largest = tl.full((BLOCK_M,), float("-inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    output = tl.zeros((BLOCK_M, WIDTH), dtype=tl.float32)
    end = KEYS
    if CAUSAL:
        end = tl.minimum(KEYS, (tl.program_id(0) + 1) * BLOCK_M)
    for start in range(0, end, BLOCK_N):
        place = start + tl.arange(0, BLOCK_N)
        inside = place < KEYS
        key = tl.load(
            key_base + place[None, :] * stride_kn + column[:, None] * stride_kd,
            mask=inside[None, :] & (column < HEAD)[:, None],
            other=0.0,
        )
        scores = tl.dot(query, key, input_precision=PRECISION) * scale
        seen = inside[None, :]
        if CAUSAL:
            seen = seen & (place[None, :] <= row[:, None])
        if MASK > 0:
            mask = tl.load(
                mask_ptr
                + batch_64 * stride_mb
                + head_64 * stride_mh
                + row[:, None] * stride_mm
                + place[None, :] * stride_mn,
                mask=(row < ROWS)[:, None] & inside[None, :],
                other=0,
            )
            if MASK == 1:
                seen = seen & (mask != 0)
            else:
                scores += mask.to(tl.float32)
        scores = tl.where(seen, scores, float("-inf"))
        now = tl.maximum(largest, tl.max(scores, axis=1))
        base = tl.where(now == float("-inf"), 0.0, now)
        weight = tl.exp(scores - base[:, None])
        rescale = tl.exp(largest - base)
        value = tl.load(
            value_base + place[:, None] * stride_vn + column[None, :] * stride_vd,
            mask=inside[:, None] & (column < HEAD)[None, :],
            other=0.0,
        )
        total = total * rescale + tl.sum(weight, axis=1)
        output = output * rescale[:, None] + tl.dot(weight.to(value.dtype), value, input_precision=PRECISION)
        largest = now
    output = output / total[:, None]
    to = output_ptr + ((batch_64 * HEADS + head_64) * ROWS + row[:, None]) * HEAD + column[None, :]
    tl.store(to, output.to(output_ptr.dtype.element_ty), mask=(row < ROWS)[:, None] & (column < HEAD)[None, :])


def attention(query, key, value, mask, causal, scale):
    batch, heads, rows, head = query.shape
    scale = head**-0.5 if scale is None else scale
    output = torch.empty((batch, heads, rows, head), dtype=query.dtype, device=query.device)
    kind = 0 if mask is None else 1 if mask.dtype is torch.bool else 2
    width = max(16, triton.next_power_of_2(head))
    strides = (0, 0, 0, 0) if mask is None else mask.stride()
    block_m, block_n = (64, 64) if width <= 64 else (64, 32) if width <= 128 else (32, 16)
    attention_kernel[(triton.cdiv(rows, block_m), batch * heads)](
        query, key, value, query if mask is None else mask, output, heads, rows,
        key.shape[2],
        scale, *query.stride(), *key.stride(), *value.stride(), *strides, HEAD=head, WIDTH=width, CAUSAL=causal,
        MASK=kind, PRECISION="ieee", BLOCK_M=block_m, BLOCK_N=block_n, num_warps=4, num_stages=2,
    )
    return output
