import torch
import triton
import triton.language as tl


@triton.jit
def add_rows(x_ptr, part_ptr, count_ptr, y_ptr, M, N, ROWS: tl.constexpr, PARTS, BLOCK: tl.constexpr):
    part = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    mask = at < N
    total = tl.zeros((BLOCK,), tl.float32)
    for i in range(ROWS):
        row = part * ROWS + i
        total += tl.load(x_ptr + row.to(tl.int64) * N + at, mask=mask & (row < M), other=0.0)
    tl.store(part_ptr + part * N + at, total, mask=mask)
    tl.debug_barrier()
    if tl.atomic_add(count_ptr, 1) == PARTS - 1:
        total = tl.zeros((BLOCK,), tl.float32)
        for other in range(PARTS):
            total += tl.load(part_ptr + other * N + at, mask=mask, other=0.0)
        tl.store(y_ptr + at, total, mask=mask)


def kernel_function(x):
    M, N = x.shape
    parts = triton.cdiv(M, 4)
    sums = torch.empty((parts, N), dtype=torch.float32, device=x.device)
    count = torch.zeros((1,), dtype=torch.int32, device=x.device)
    y = torch.empty((N,), dtype=x.dtype, device=x.device)
    add_rows[(parts,)](x, sums, count, y, M, N, ROWS=4, PARTS=parts, BLOCK=triton.next_power_of_2(N))
    return y
