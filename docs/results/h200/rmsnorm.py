"""rmsnorm: 2 Triton kernels (_rmsnorm_tma, _rmsnorm_loop), called by `kernel_function`.

`kernel_function` takes the inputs of the reference's `forward`, then by name what else its signature asks for:
parameters, buffers and attributes of the model.  Where it comes from stands in the comments below.
"""

# problem    rmsnorm, bfloat16
# run        rmsnorm-written: preset beam_search, 1 round, seed 0, proposers written
# kernel     r1a0s3, made by kopt absent
# lineage    the problem's seed kernel, then
#            1. Loads now go through TMA: a host-made 3-D descriptor (batch, channel, position) brings 64 x 128 tiles
#            (16 KB) to shared memory in a persistent loop of num_stages=4, so three tiles per program and about 96 KB
#            per SM are in flight without spending registers or load instructions on addresses; out-of... (written)
# verdict    right in 16 comparisons on a GPU, on new inputs after the search
# time       1.9284 ms, 95 % interval 1.9255 to 1.9350 ms, measured on NVIDIA H200; 81 % of the roofline
#            compile 3.3529 ms, 1.74x (1.733 to 1.743)
#            eager 8.3073 ms, 4.31x (4.293 to 4.314)
#            max-autotune 1.8242 ms, 0.95x (0.943 to 0.948)
#            seed 3.2814 ms, 1.70x (1.697 to 1.704)
# versions   python 3.12.3, torch 2.11.0, triton 3.6.0
# shapes     b112_c64_512x512: x bfloat16[112, 64, 512, 512] -> output bfloat16[112, 64, 512, 512]
#            verified on other sizes too: ragged (batch_size=3, dim1=131, dim2=200, features=40); ragged
#            (batch_size=2, dim1=31, dim2=40, features=10)
# assumes    dtypes and strides as above: inputs as `get_inputs` of the reference makes them
# order      sums are in a fixed order: equal inputs give equal bits on one device and version

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

@triton.jit
def _rmsnorm_tma(x_desc, y_ptr, features, positions, tiles, total, inv_features, eps,
                 F: tl.constexpr, BLOCK: tl.constexpr, EVEN: tl.constexpr, STAGES: tl.constexpr):
    stride = tl.cast(positions, tl.int64)
    plane = stride * features
    rows = tl.arange(0, F)
    cols = tl.arange(0, BLOCK)
    offsets = rows.to(tl.int64)[:, None] * stride + cols[None, :]
    for tile in tl.range(tl.program_id(0), total, tl.num_programs(0), num_stages=STAGES):
        batch = tile // tiles
        start = (tile - batch * tiles) * BLOCK
        x = tl.reshape(x_desc.load([batch, 0, start]), (F, BLOCK)).to(tl.float32)
        scale = tl.rsqrt(tl.sum(x * x, axis=0) * inv_features + eps)
        y = (x * scale[None, :]).to(tl.bfloat16)
        base = batch.to(tl.int64) * plane + start
        if EVEN:
            tl.store(y_ptr + base + offsets, y, eviction_policy="evict_first")
        else:
            mask = (rows < features)[:, None] & (start + cols < positions)[None, :]
            tl.store(y_ptr + base + offsets, y, mask=mask, eviction_policy="evict_first")


@triton.jit
def _rmsnorm_loop(x_ptr, y_ptr, features, positions, tiles, inv_features, eps, BLOCK: tl.constexpr):
    # General path for very many channels or layouts that the fast path cannot take.
    pid = tl.program_id(0)
    batch = pid // tiles
    cols = (pid - batch * tiles) * BLOCK + tl.arange(0, BLOCK)
    mask = cols < positions
    stride = tl.cast(positions, tl.int64)
    base = batch.to(tl.int64) * features * stride
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for feature in range(0, features):
        x = tl.load(x_ptr + (base + feature * stride) + cols, mask=mask, other=0.0).to(tl.float32)
        total += x * x
    scale = tl.rsqrt(total * inv_features + eps)
    for feature in range(0, features):
        x = tl.load(x_ptr + (base + feature * stride) + cols, mask=mask, other=0.0).to(tl.float32)
        tl.store(y_ptr + (base + feature * stride) + cols, (x * scale).to(y_ptr.dtype.element_ty), mask=mask)


def kernel_function(x, eps=1e-5):
    y = torch.empty_like(x)
    if x.numel() == 0:
        return y
    batch, features = x.shape[0], x.shape[1]
    positions = x.numel() // (batch * features)
    inv_features = 1.0 / features
    F = max(16, triton.next_power_of_2(features))
    if F > 64 or positions % 8 != 0 or x.dtype != torch.bfloat16 or x.data_ptr() % 16 != 0:
        block = 1024
        tiles = triton.cdiv(positions, block)
        _rmsnorm_loop[(batch * tiles,)](
            x, y, features, positions, tiles, inv_features, eps, BLOCK=block, num_warps=4
        )
        return y
    block = 128
    tiles = triton.cdiv(positions, block)
    total = batch * tiles
    sms = torch.cuda.get_device_properties(x.device).multi_processor_count
    # three dimensions: channels and positions beyond the ends are filled with zeros
    x_desc = TensorDescriptor.from_tensor(x.view(batch, features, positions), [1, F, block])
    even = positions % block == 0 and features == F
    _rmsnorm_tma[(min(total, 2 * sms),)](
        x_desc, y, features, positions, tiles, total, inv_features, eps,
        F=F, BLOCK=block, EVEN=even, STAGES=4, num_warps=4
    )
    return y
