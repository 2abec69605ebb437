"""Put a tensor's channels last in memory: tiles are read along pixels and written along channels."""

import torch
import triton
import triton.language as tl


@triton.jit
def channels_last_kernel(x_ptr, output_ptr, CHANNELS, PIXELS, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr):
    blocks_c, blocks_p = tl.cdiv(CHANNELS, BLOCK_C), tl.cdiv(PIXELS, BLOCK_P)
    tile = tl.program_id(0) % (blocks_c * blocks_p)
    first = (tl.program_id(0) // (blocks_c * blocks_p)).to(tl.int64) * CHANNELS * PIXELS
    channel = tile // blocks_p * BLOCK_C + tl.arange(0, BLOCK_C)
    pixel = tile % blocks_p * BLOCK_P + tl.arange(0, BLOCK_P)
    inside = (channel < CHANNELS)[:, None] & (pixel < PIXELS)[None, :]
    x = tl.load(x_ptr + first + channel.to(tl.int64)[:, None] * PIXELS + pixel[None, :], mask=inside, other=0.0)
    place = first + pixel.to(tl.int64)[:, None] * CHANNELS + channel[None, :]
    tl.store(output_ptr + place, tl.trans(x), mask=tl.trans(inside))


def channels_last(x):
    """Return x with its channels, dimension 1, as the last dimension, without gaps; no copy where they lie so."""
    moved = x.movedim(1, -1)
    if moved.is_contiguous():
        return moved
    x, output = x.contiguous(), torch.empty(moved.shape, dtype=x.dtype, device=x.device)
    channels, pixels = x.shape[1], x.shape[2:].numel()
    block_c = min(64, triton.next_power_of_2(channels))
    block_p = 4096 // block_c
    tiles = triton.cdiv(channels, block_c) * triton.cdiv(pixels, block_p)
    channels_last_kernel[(x.shape[0] * tiles,)](
        x, output, channels, pixels, BLOCK_C=block_c, BLOCK_P=block_p, num_warps=4
    )
    return output
