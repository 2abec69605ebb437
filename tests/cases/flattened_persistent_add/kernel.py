import torch
import triton
import triton.language as tl


@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, M, N, stride, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, COUNT: tl.constexpr):
    columns = tl.cdiv(N, BLOCK_N)
    tiles = tl.cdiv(M, BLOCK_M) * columns
    for tile in tl.range(tl.program_id(0), tiles, COUNT, flatten=True):
        m = tile // columns * BLOCK_M + tl.arange(0, BLOCK_M)[:, None]
        n = tile % columns * BLOCK_N + tl.arange(0, BLOCK_N)[None, :]
        mask = (m < M) & (n < N)
        x = tl.load(x_ptr + m * stride + n, mask=mask, other=0.0)
        y = tl.load(y_ptr + m * stride + n, mask=mask, other=0.0)
        tl.store(out_ptr + m * stride + n, x + y, mask=mask)


def kernel_function(x, y):
    out = torch.empty_like(x)
    programs = torch.cuda.get_device_properties(x.device).multi_processor_count
    add_kernel[(programs,)](x, y, out, *x.shape, x.stride(0), BLOCK_M=32, BLOCK_N=64, COUNT=programs)
    return out
